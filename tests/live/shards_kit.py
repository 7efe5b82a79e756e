"""What live tests of moves are made of: agents, two publishers that never rest, and a checker.

The rule: the checker knows what was published and accepted and nothing of slots. Every node must end
with the highest accepted revision of each of its resources; on the way no revision may fall, nothing
of another host may come, and nothing that stands may be taken down.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import msgspec

from southbound.documents.topology import topology_of
from southbound.edge.admin import apply_topics
from southbound.edge.topics import TopicSettings
from southbound.errors import OutcomeUnknown
from southbound.local.fleet import LocalFleet
from southbound.nca.plan import Plan as NodePlan
from southbound.nca.service import Agent
from southbound.partitioning.draft import Snapshot
from southbound.partitioning.placement import (
    Placement,
    VpcPlacement,
    parse_placement,
    parse_vpc_placement,
)
from southbound.partitioning.plan import Goal, Plan
from southbound.partitioning.planner import make_plan
from southbound.partitioning.topology import Pool, Topology
from southbound.producer import Publisher, Receipt
from southbound.rebalance.executor import Executor, Progress
from southbound.rebalance.unused import with_ports
from southbound.resources import (
    Changeset,
    Op,
    Resource,
    ResourceKey,
    Scope,
    ScopeClass,
    host_scope,
    vpc_scope,
)
from southbound.settings import AgentSettings, PublisherSettings, RebalanceSettings
from tests.live.directory_kit import DirectoryKit, eventually

_ENOUGH_S = 60.0
_AHEAD_MAX = 2_000


class Node:
    """An applier in memory that judges everything it is asked to do."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.state: dict[ResourceKey, int] = {}
        self.faults: list[str] = []
        self.sent_at: dict[str, float] = {}
        self.delays: list[float] = []

    def open(self) -> None:
        """Get ready."""

    def close(self) -> None:
        """Let go of nothing."""

    def apply(self, plan: NodePlan) -> Mapping[ResourceKey, str]:
        """Apply, and note what should not have been asked."""
        told = {change.key for change in plan.changes}
        for key in [key for key in self.state if key not in told]:
            if key.scope in plan.complete or key.scope not in (plan.only or (key.scope,)):
                self.faults.append(f"{key} was taken down")
                del self.state[key]
        for change in plan.changes:
            key = change.key
            if key.scope.cls is ScopeClass.HOST and key.scope.id != self.host:
                self.faults.append(f"{key} is foreign")
            before = self.state.get(key, 0)
            if change.op is Op.DELETE:
                self.faults.append(f"{key} was deleted")
            if change.revision < before:
                self.faults.append(f"{key} fell from {before} to {change.revision}")
            self.state[key] = change.revision
            sent_at = self.sent_at.get(change.changeset)
            if sent_at is not None:
                self.delays.append(time.monotonic() - sent_at)
        return {}


class History:
    """Everything that was published, and what of it was accepted. Thread-safe.

    `enough_s`: how long a receipt is waited for.
    """

    def __init__(self) -> None:
        self.enough_s = _ENOUGH_S
        self._lock = threading.Lock()
        self._revisions: defaultdict[ResourceKey, int] = defaultdict(int)
        self.accepted: dict[ResourceKey, int] = {}
        self.failures: list[str] = []
        self.sent_at: dict[str, float] = {}

    def next(self, id: str, scope: Scope, names: Sequence[tuple[str, str]]) -> Changeset:
        """Return the next changeset of a scope's resources (kind and id)."""
        with self._lock:
            resources = []
            for kind, name in names:
                key = ResourceKey(scope, kind, name)
                self._revisions[key] += 1
                revision = self._revisions[key]
                resources.append(Resource(scope, kind, name, revision, {"n": revision}))
            self.sent_at[id] = time.monotonic()
        return Changeset(id, tuple(resources))

    def settle(self, published: Sequence[tuple[Changeset, Receipt]]) -> None:
        """Note what was accepted."""
        for changeset, receipt in published:
            try:
                receipt.accepted.result(self.enough_s)
            except OutcomeUnknown:
                continue
            except Exception as error:  # noqa: BLE001  # the test fails with what it was
                scope = changeset.resources[0].scope
                self.failures.append(f"{changeset.id} to {scope}: {error!r}")
                continue
            with self._lock:
                for one in changeset.resources:
                    known = self.accepted.get(one.key, 0)
                    self.accepted[one.key] = max(known, one.revision)

    def wanted(self, scopes: set[Scope]) -> dict[ResourceKey, int]:
        """Return the highest accepted revision of each resource of some scopes."""
        return {key: n for key, n in self.accepted.items() if key.scope in scopes}


class Running:
    """One agent and its node."""

    def __init__(self, agent: Agent, node: Node) -> None:
        self.agent = agent
        self.node = node


def small_topology(fleet: LocalFleet, settings: TopicSettings | None = None) -> Topology:
    """Return small pools, two of each class in a cluster, over a fleet of two; their topics made.

    A third cluster stands on the second one's brokers: it comes and goes with its pools alone.
    """
    document = topology_of(fleet.topology_document())
    classes: dict[str, Literal["host", "vpc"]] = {"h": "host", "i": "host", "v": "vpc", "w": "vpc"}
    pools = tuple(
        Pool(
            id=f"{cluster}-{letter}",
            cluster=cluster,
            cls=cls,
            topics=1,
            partitions=4,
            max_per_slot=60,
        )
        for cluster in ("c1", "c2", "c3")
        for letter, cls in classes.items()
    )
    third = msgspec.structs.replace(document.clusters[1], id="c3")
    made = Topology(
        region="test", azs=document.azs, clusters=(*document.clusters, third), pools=pools
    )
    apply_topics(made, settings)
    return made


class Shards:
    """One test's hosts, agents, publishers and executors over a topology that it shares."""

    def __init__(
        self, kit: DirectoryKit, topology: Topology, unique: Callable[[str], str], path: Path
    ) -> None:
        self.kit = kit
        self.topology = topology
        self.unique = unique
        self.path = path
        self.history = History()
        self.directory = kit.directory()
        self.agents: dict[str, Running] = {}
        self.vpcs_of: defaultdict[str, set[str]] = defaultdict(set)
        self._numbers = itertools.count()
        self._stack = ExitStack()
        self._mover: Executor | None = None

    def close(self) -> None:
        """Stop everything."""
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda running: running.agent.stop(), self.agents.values()))
        self._stack.close()

    # Who lives where.

    def hosts(self, count: int, cluster: str) -> list[str]:
        """Register hosts until enough of them live in a cluster."""
        found: list[str] = []
        while len(found) < count:
            new = [self.unique("host") for _ in range(6 * count)]
            placed = self.directory.register_hosts(dict.fromkeys(new, "az-a"))
            topology = self.directory.topology
            found += [host for host in new if topology.pool(placed[host].pool).cluster == cluster]
        return found[:count]

    def place(self, host: str) -> Placement:
        """Return where a host lives, as Redis says."""
        return parse_placement(self.directory.rows([host_scope(host)])[host_scope(host)])

    def vpc(self, vpc: str) -> VpcPlacement:
        """Return where a VPC lives, as Redis says."""
        return parse_vpc_placement(self.directory.rows([vpc_scope(vpc)])[vpc_scope(vpc)])

    def cluster_of(self, host: str) -> str:
        """Return the cluster in which a host lives."""
        return self.directory.topology.pool(self.place(host).pool).cluster

    def snapshot(self) -> Snapshot:
        """Return the map as it is."""
        return self._snapshot(dict(self.directory.hosts_scan()), dict(self.directory.vpcs_scan()))

    def _snapshot(
        self, hosts: Mapping[str, Placement], vpcs: Mapping[str, VpcPlacement]
    ) -> Snapshot:
        return Snapshot(
            topology=self.directory.topology,
            map_version=self.directory.map_version(),
            hosts=hosts,
            vpcs=vpcs,
            occupied=self.directory.occupancy(),
        )

    # Moving.

    def plan(self, goal: Goal) -> Plan:
        """Make a plan of the map as it is."""
        if goal.kind == "hosts":
            # The whole map is not needed for these.
            placed = {host: self.place(host) for host in goal.what}
            return make_plan(self._snapshot(placed, {}), goal)
        return make_plan(self.snapshot(), goal)

    def unused_plan(self, grace_s: float = 0.0) -> Plan:
        """Make the plan that drops replicas without ports, and adds those that ports lack."""
        known = with_ports(self.snapshot(), grace_s, time.time_ns() // 1000)
        mine = {id for vpcs in self.vpcs_of.values() for id in vpcs}
        # What other tests have left behind is no concern of this one's.
        unused = frozenset(one for one in known.unused if one[0] in mine)
        known = msgspec.structs.replace(known, unused=unused, lacking=frozenset())
        return make_plan(known, Goal(kind="replicas"))

    def unused(self, grace_s: float = 0.0) -> dict[str, str]:
        """Return the VPCs that would lose a replica, and in which cluster."""
        return {move.id: move.cluster for move in self.unused_plan(grace_s).moves}

    @contextmanager
    def executor(self, **settings: object) -> Iterator[Executor]:
        """Return an executor as another process would have it."""
        made = RebalanceSettings(timeout_s=15.0, patience_s=15.0, **settings)  # type: ignore[arg-type]
        with Executor(self.directory, made) as executor:
            yield executor

    @property
    def mover(self) -> Executor:
        """The executor of those who need no other."""
        if self._mover is None:
            self._mover = self._stack.enter_context(self.executor())
        return self._mover

    def move(self, goal: Goal, **settings: object) -> Progress:
        """Plan and carry out."""
        plan = self.plan(goal)
        with self.executor(**settings) if settings else nullcontext(self.mover) as executor:
            done = executor.run(executor.begin(plan))
        assert done.done == done.total, done.failed
        return done

    # Nodes.

    def agent(
        self,
        host: str,
        node: Node | None = None,
        *,
        fresh: bool = False,
        redis_url: str | None = None,
    ) -> Running:
        """Start a host's agent, with its state or without; `redis_url`: not the kit's Redis."""
        folder = self.path / (self.unique(host) if fresh else host)
        node = node or Node(host)
        node.sent_at = self.history.sent_at
        agent = Agent(
            host=host,
            state_dir=folder,
            applier=node,
            redis_url=redis_url or self.kit.redis_url,
            settings=AgentSettings(fetch_wait_ms=1_000, interest_grace_s=5.0),
        )
        agent.start()
        self.agents[host] = Running(agent, node)
        return self.agents[host]

    def stop(self, host: str) -> Node:
        """Stop a host's agent; return its node, which keeps what it has."""
        running = self.agents.pop(host)
        running.agent.stop()
        return running.node

    # Publishing.

    def publisher(self, **changes: object) -> Publisher:
        """Return one more publisher, with a directory of its own and these settings of it."""
        settings = PublisherSettings(validate_specs=False)
        made = Publisher(self.kit.directory(**changes), settings)
        return self._stack.enter_context(made)

    def scopes_of(self, host: str) -> set[Scope]:
        """Return the scopes that a host must have."""
        return {host_scope(host), *map(vpc_scope, self.vpcs_of[host])}

    def join(self, publisher: Publisher, host: str, vpc: str) -> None:
        """Publish a VPC and a port of it on a host."""
        id = f"join-{next(self._numbers)}"
        made = self.history.next(f"{id}-v", vpc_scope(vpc), [("vpc", vpc)])
        port = ResourceKey(host_scope(host), "port", f"port-{vpc}")
        spec = {"vpc_id": vpc}
        ports = (Resource(port.scope, port.kind, port.id, 1, spec),)
        for changeset in (made, Changeset(f"{id}-p", ports)):
            self.history.settle([(changeset, publisher.publish(changeset))])
        self.vpcs_of[host].add(vpc)

    @contextmanager
    def traffic(
        self, scopes: Sequence[Scope], publishers: Sequence[Publisher] = ()
    ) -> Iterator[None]:
        """Publish into scopes, by these publishers or by two, while the block runs."""
        ending = threading.Event()
        made = publishers or [self.publisher() for _ in range(2)]
        threads = [
            threading.Thread(target=self._publish, args=(one, scopes, ending)) for one in made
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ending.set()
            for thread in threads:
                thread.join(self.history.enough_s)

    def _publish(
        self, publisher: Publisher, scopes: Sequence[Scope], ending: threading.Event
    ) -> None:
        published: list[tuple[Changeset, Receipt]] = []
        for scope in itertools.cycle(scopes):
            if ending.wait(0.004):
                break
            kind = "gateway" if scope.cls is ScopeClass.HOST else "security_group"
            names = [(kind, "one"), (kind, "two"), (kind, f"n{len(published) % 5}")]
            made = self.history.next(f"t-{next(self._numbers)}", scope, names)
            published.append((made, publisher.publish(made)))
            if len(published) > _AHEAD_MAX:
                # A machine that is slower than this gets no more than it carries.
                wait([published[-_AHEAD_MAX][1].accepted], self.history.enough_s)
        self.history.settle(published)

    # Judging.

    def check(self, within_s: float = 60.0) -> None:
        """Compare every agent's node with what was accepted."""
        assert not self.history.failures, self.history.failures[:3]
        for host, running in self.agents.items():
            self.check_node(host, lambda node=running.node: node, within_s)  # type: ignore[misc]

    def check_node(self, host: str, look: Callable[[], Node], within_s: float = 60.0) -> None:
        """Compare one node, as it looks by and by, with what was accepted."""
        wanted = self.history.wanted(self.scopes_of(host))

        def lacking() -> dict[ResourceKey, tuple[int, int]]:
            state = look().state
            return {
                key: (state.get(key, 0), revision)
                for key, revision in wanted.items()
                if state.get(key, 0) < revision
            }

        eventually(
            lambda: not lacking(), within_s=within_s, saying=lambda: f"{host} lacks {lacking()}"
        )
        node = look()
        strange = {key.scope for key in node.state} - self.scopes_of(host)
        assert strange == set()
        assert node.faults == []

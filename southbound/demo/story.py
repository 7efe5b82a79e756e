"""The demonstration itself: from nothing to a checked fleet, in the order in which it is told.

The rule: it shows nothing that it does not check. Every chapter ends by comparing what stands on
the nodes with what was published, and one difference makes the whole run fail.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from southbound.demo import application
from southbound.demo.cast import Cast, Node
from southbound.demo.expected import Published, differences
from southbound.demo.view import live, node_table
from southbound.directory import Directory
from southbound.documents.imported import Imported
from southbound.documents.reading import read_files
from southbound.documents.topology import load_topology
from southbound.edge.admin import apply_topics
from southbound.edge.kafka import end_offsets, new_consumer
from southbound.local.fleet import LocalFleet
from southbound.local.record import REDIS
from southbound.partitioning.topology import Topology, topic_name
from southbound.producer import Publisher
from southbound.resources import Changeset, ScopeClass
from southbound.settings import DirectorySettings, PublisherSettings

SAMPLES = Path("..") / "shared" / "data" / "neutron"
_CONVERGED_S = 60.0
_LOOK_S = 0.05
_LOG_WIDTH = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """What the demonstration runs on. `samples`: a folder of Networking API responses, or none."""

    hosts: int = 30
    clusters: int = 3
    workers: int = 2
    balancers: int = 10
    state_dir: Path = Path("var/demo")
    keep: bool = False
    samples: Path | None = SAMPLES


def run_demo(
    *, hosts: int = 30, clusters: int = 3, state_dir: Path = Path("var/demo"), keep: bool = False
) -> int:
    """Run it on this machine; return the exit status: 0 when every check held."""
    settings = DemoSettings(hosts=hosts, clusters=clusters, state_dir=state_dir, keep=keep)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    fleet = LocalFleet(settings.state_dir / "fleet")
    shutil.rmtree(settings.state_dir / "cast", ignore_errors=True)
    fleet.down(wipe=True)
    try:
        return _tell(console, fleet, settings)
    finally:
        if settings.keep:
            console.print(f"left running: southbound --local-dir {fleet.state_dir} local status")
        else:
            fleet.down(wipe=True)


def _tell(console: Console, fleet: LocalFleet, settings: DemoSettings) -> int:
    began_s = time.monotonic()
    console.rule("[bold]Southbound: from a control plane to its nodes")
    fleet.up(settings.clusters, progress=lambda line: console.print(f"  {line}", style="dim"))
    topology = load_topology(fleet.topology_file)
    made = apply_topics(topology)
    with Directory(DirectorySettings(redis_url=fleet.redis_url), topology) as directory:
        directory.put_topology(topology)
        console.print(f"[bold]{len(made.created)} topics[/] in {len(topology.clusters)} clusters")
        cast = Cast(settings.state_dir / "cast", fleet.redis_url)
        publisher = Publisher(directory, PublisherSettings(client_id="demo", track=True))
        publisher.start()
        try:
            story = Story(console, fleet, settings, directory, publisher, cast)
            story.tell()
        finally:
            publisher.close()
            cast.close()
    took_s = time.monotonic() - began_s
    if story.wrong:
        console.print(f"[bold red]{len(story.wrong)} checks failed[/] in {took_s:.0f} s")
        return 1
    console.print(f"[bold green]every check held[/]: {story.held} in {took_s:.0f} s")
    return 0


class Story:
    """The chapters. `held` counts checks that held, `wrong` names those that did not."""

    def __init__(
        self,
        console: Console,
        fleet: LocalFleet,
        settings: DemoSettings,
        directory: Directory,
        publisher: Publisher,
        cast: Cast,
    ) -> None:
        self._console = console
        self._fleet = fleet
        self._settings = settings
        self._directory = directory
        self._publisher = publisher
        self._cast = cast
        self._published = Published()
        self._published_at: dict[str, float] = {}
        self._launches: list[application.Launch] = []
        self._revision = 1
        self.held = 0
        self.wrong: list[str] = []

    def tell(self) -> None:
        """Tell it, chapter by chapter."""
        for chapter in (
            self._nodes,
            self._application,
            self._samples,
            self._one_rule,
            self._crash,
            self._without_redis,
        ):
            chapter()
        self._console.print(self._table())
        self._check_everything("at the end")

    # Chapters.

    def _nodes(self) -> None:
        zones = [az.id for az in self._directory.topology.azs]
        azs = {
            f"host-{number:02d}": zones[number % len(zones)]
            for number in range(self._settings.hosts)
        }
        self._chapter(f"{len(azs)} hosts are registered; each has an agent, one as a process")
        self._directory.register_hosts(azs)
        self._launches = application.launches(list(azs))
        self._cast.add_nodes(azs, alone=self._alone)
        self._cast.add_workers("elb", self._settings.workers, self._directory.topology)
        self._cast.wait_ready()

    @property
    def _alone(self) -> str:
        """The host whose agent is a process of its own: the first with a web server."""
        return self._launches[0].host

    def _application(self) -> None:
        changesets = [
            *application.networks(),
            *(application.launch_changeset(one) for one in self._launches),
            *application.routers(self._launches),
            *application.balancers(self._settings.balancers),
        ]
        resources = sum(len(one.resources) for one in changesets)
        self._chapter(
            f"A shop of two tiers and a lab are published: {len(changesets)} changesets, "
            f"{resources} resources"
        )
        self._publish(changesets)
        self._converge()
        self._check_everything("after the launch")
        held = [len(state) for state in self._cast.worker_states()]
        self._say(f"{sum(held)} load balancers on {len(held)} workers: {held}")
        self._check(max(held) - min(held) <= 1, f"workers hold halves ({held})")

    def _samples(self) -> None:
        folder = self._settings.samples
        if folder is None or not folder.is_dir():
            self._chapter("No samples of the OpenStack Networking API are here: passed over")
            return
        imported = read_files(sorted(path for path in folder.rglob("*.json")))
        hosts = sorted(
            {
                resource.scope.id
                for changeset in imported.changesets
                for resource in changeset.resources
                if resource.scope.cls is ScopeClass.HOST
            }
            - self._cast.nodes.keys()
        )
        zone = self._directory.topology.azs[0].id
        self._chapter(
            f"Responses of the OpenStack Networking API: {imported.resources} resources, "
            f"{len(imported.unplaced)} not placed, {len(hosts)} more hosts"
        )
        self._say(_reasons(imported))
        self._directory.register_hosts(dict.fromkeys(hosts, zone))
        self._cast.add_nodes(dict.fromkeys(hosts, zone))
        self._publish(imported.changesets)
        self._converge()
        self._check_everything("after the samples")

    def _one_rule(self) -> None:
        self._chapter("One security-group rule of the shop changes")
        before = self._vpc_ends()
        marks = {host: node.applier.changes for host, node in self._cast.nodes.items()}
        self._change_rule("198.51.100.0/24")
        after = self._vpc_ends()
        sent = {cluster: after[cluster] - before[cluster] for cluster in after}
        home = self._directory.vpcs([application.SHOP])[application.SHOP]
        topology = self._directory.topology
        interested = sorted(topology.pool(replica.pool).cluster for replica in home.replicas)
        wanted = {cluster: int(cluster in interested) for cluster in after}
        self._say(f"records written to each cluster's VPC slots: {sent}")
        self._check(sent == wanted, f"one record went to each interested cluster: {interested}")
        changed = {
            host
            for host, node in self._cast.nodes.items()
            if node.process is None and node.applier.changes > marks[host]
        }
        members = {one.host for one in self._launches if one.tier.vpc == application.SHOP}
        members.discard(self._alone)
        self._say(f"nodes that changed: {len(changed)} of {len(self._cast.nodes)}")
        self._check(changed == members, "only nodes with a port in the shop changed")

    def _crash(self) -> None:
        node = self._cast.nodes[self._alone]
        pid = node.kill()
        self._chapter(f"The agent of {node.host} (process {pid}) is killed, and things change on")
        self._revision += 1
        self._publish(
            [application.renamed_port(self._launches[0], self._revision)], wait_applied=False
        )
        self._change_rule("203.0.113.0/24", wait_applied=False)
        self._check(bool(self._differences(node)), "a dead agent's node stays as it was")
        self._cast.start_alone(node)
        began_s = time.monotonic()
        self._converge()
        self._say(f"started again, it caught up in {time.monotonic() - began_s:.1f} s")
        self._check_everything("after the crash")

    def _without_redis(self) -> None:
        self._chapter("Redis is stopped: known hosts go on")
        self._fleet.stop(REDIS)
        try:
            self._revision += 1
            self._publish([application.renamed_port(one, self._revision) for one in self._launches])
            self._change_rule("0.0.0.0/0")
            self._check_everything("without Redis")
        finally:
            self._fleet.start(REDIS)
        self._say("Redis is back")

    # What chapters are made of.

    def _chapter(self, text: str) -> None:
        self._console.print(f"\n[bold cyan]▸[/] [bold]{text}[/]")

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}", highlight=False)

    def _change_rule(self, source: str, *, wait_applied: bool = True) -> None:
        self._revision += 1
        changeset = application.changed_rule(self._revision, source)
        self._publish([changeset], wait_applied=wait_applied)
        if wait_applied:
            self._converge()

    def _publish(self, changesets: Sequence[Changeset], *, wait_applied: bool = True) -> None:
        """Publish, wait for acceptance and, unless told otherwise, for what the nodes report."""
        self._published.add(changesets)
        began_s = time.time()
        self._published_at.update(dict.fromkeys((one.id for one in changesets), began_s))
        receipts = [self._publisher.publish(one) for one in changesets]
        for receipt in receipts:
            receipt.accepted.result(_CONVERGED_S)
        self._say(f"{len(receipts)} changesets accepted in {(time.time() - began_s) * 1000:.0f} ms")

    def _converge(self) -> None:
        """Wait until every node holds what it must, and show the way there."""
        deadline = time.monotonic() + _CONVERGED_S
        with live(self._console, self._table):
            while time.monotonic() < deadline:
                if not any(self._differences(node) for node in self._cast.nodes.values()):
                    break
                time.sleep(_LOOK_S)
        while time.monotonic() < deadline and self._worker_differences():
            time.sleep(_LOOK_S)

    def _differences(self, node: Node) -> list[str]:
        return differences(self._published.of_host(node.host), node.state())

    def _worker_differences(self) -> list[str]:
        states = self._cast.worker_states()
        union = {key: value for state in states for key, value in state.items()}
        found = differences(self._published.of_workers("elb"), union)
        if len(union) < sum(len(state) for state in states):
            found.append("a load balancer stands on two workers")
        return found

    def _check(self, holds: bool, what: str) -> None:  # noqa: FBT001  # a check's outcome
        if holds:
            self.held += 1
            self._console.print(f"  [green]✓[/] {what}", highlight=False)
        else:
            self.wrong.append(what)
            self._console.print(f"  [bold red]✗ {what}[/]", highlight=False)

    def _check_everything(self, when: str) -> None:
        """Compare the files of every node with what was published."""
        wrong = {
            host: found
            for host, node in self._cast.nodes.items()
            if (found := self._differences(node))
        }
        for host, found in wrong.items():
            self._say(f"{host}: {'; '.join(found[:3])}")
        count = len(self._cast.nodes)
        self._check(
            not wrong, f"{count - len(wrong)} of {count} nodes hold exactly what they must {when}"
        )
        balancers = self._worker_differences()
        self._check(not balancers, f"each load balancer stands on one worker {when}")

    def _vpc_ends(self) -> dict[str, int]:
        return vpc_ends(self._directory.topology)

    def _table(self) -> Table:
        return node_table(self._cast, self._directory, self._published_at)


def vpc_ends(topology: Topology) -> dict[str, int]:
    """Return how many records each cluster's VPC slots have been given so far."""
    ends = {}
    for cluster in topology.clusters:
        consumer = new_consumer(cluster, "demo-ends")
        try:
            ends[cluster.id] = sum(
                end_offsets(consumer, topic_name(pool.id, topic), partition)[1]
                for pool in topology.pools_in("vpc", cluster=cluster.id)
                for topic in range(pool.topics)
                for partition in range(pool.partitions)
            )
        finally:
            consumer.close()
    return ends


def _reasons(imported: Imported) -> str:
    """Say in one line why things of an import have no place."""
    counts: dict[str, int] = {}
    for one in imported.unplaced:
        counts[one.kind] = counts.get(one.kind, 0) + 1
    return "not placed: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))

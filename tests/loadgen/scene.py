"""A small fleet in memory: publishers' logs, a hall of nodes, and a history of all that happened.

Each test breaks one thing of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from loadgen.checker.expected import ExpectedDigests
from loadgen.histories.events import Accepted, Event, Joined, Left, published
from loadgen.histories.recorder import applied
from loadgen.nodes.hall import Hall, Place
from loadgen.nodes.stream import Landed, Stream, Watch
from loadgen.workloads.fleet import Fleet, FleetShape
from southbound.partitioning.placement import Placement, VpcPlacement, address_of
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.resources import Changeset, Op, Resource, Scope, host_scope, vpc_scope
from southbound.wire.envelope import EMPTY_SPEC, Envelope, encode, encode_spec
from southbound.wire.keys import encode_key

START_US = 1_700_000_000_000_000
Record = tuple[bytes, bytes | None]
Spoil = Callable[[Resource, Record], list[Record]]
"""What a broken publisher writes instead of a record."""


def honest(_resource: Resource, record: Record) -> list[Record]:
    """Write what was asked."""
    return [record]


class Scene:
    """Twelve hosts with three VMs each, in four slots."""

    def __init__(self, hosts: int = 12) -> None:
        self.topology = Topology(
            region="r",
            azs=(Az(id="az", journal="c"),),
            clusters=(Cluster(id="c", az="az", bootstrap=("c:1",)),),
            pools=(
                Pool(id="h", cluster="c", cls="host", topics=2, partitions=2, max_per_slot=99),
                Pool(id="v", cluster="c", cls="vpc", topics=1, partitions=2, max_per_slot=99),
            ),
        )
        self.fleet = Fleet(FleetShape(hosts=hosts, vms_per_host=3, azs=("az",)))
        self.events: list[Event] = []
        self.hall = Hall(self.topology)
        self.logs: defaultdict[Place, list[Record]] = defaultdict(list)
        self.now_us = START_US
        self._read: defaultdict[Place, int] = defaultdict(int)
        self._sets = 0
        for i in range(hosts):
            host = self.fleet.host(i)
            self.hall.join(host, Placement("h", 0), watch=self.watch(host))
        for j in range(self.fleet.vpcs):
            self.hall.place(self.fleet.vpc(j), VpcPlacement(1, (Placement("v", 0),)))

    def watch(self, node: str) -> Watch:
        """Write down what a node does."""
        self.events.append(Joined(node, self.now_us))

        def note(stream: Stream, landed: Landed | None, now_us: int) -> None:
            if landed is None:
                self.events.append(Left(node, now_us, stream.prefix))
            else:
                self.events.append(applied(node, stream.prefix, landed, now_us))

        return note

    def place(self, scope: Scope) -> Place:
        """Return the slot of a scope."""
        placement = Placement("h" if scope.cls == "host" else "v", 0)
        where = address_of(scope.cls, scope.id, placement, self.topology)
        return where.cluster, where.topic, where.partition

    def publish(
        self, changeset: Changeset, spoil: Spoil = honest, *, place: Place | None = None
    ) -> None:
        """Write a changeset's records to their slots, and say that it was accepted."""
        self.now_us += 1_000
        self.events.append(published(changeset, self.now_us))
        parts: defaultdict[Scope, list[Resource]] = defaultdict(list)
        for resource in changeset.resources:
            parts[resource.scope].append(resource)
        for scope, part in parts.items():
            for index, resource in enumerate(part):
                record = record_of(resource, changeset.id, index, len(part), self.now_us)
                self.logs[place or self.place(scope)] += spoil(resource, record)
        self.events.append(Accepted(changeset.id, self.now_us))

    def publish_fleet(self) -> None:
        """Give every VPC and every host what is theirs, at revision 1."""
        for changeset in self.changesets():
            self.publish(changeset)

    def changesets(self) -> Iterator[Changeset]:
        """Yield what every VPC and every host must have."""
        for j in range(self.fleet.vpcs):
            yield self.fleet.vpc_changeset(j, 1)
        for i in range(self.fleet.hosts):
            yield self.fleet.host_changeset(i, 1)

    def run(self, wait_s: float = 0.001) -> None:
        """Let the nodes read everything, and time pass."""
        for place, log in self.logs.items():
            for offset in range(self._read[place], len(log)):
                self.hall.feed(place, offset, *log[offset], self.now_us)
            self._read[place] = len(log)
        self.now_us += int(wait_s * 1e6)
        self.hall.tick(self.now_us)

    def host(self, i: int) -> Scope:
        """Return a host's scope."""
        return host_scope(self.fleet.host(i))

    def put(self, i: int, revision: int, *ids: str, op: Op = Op.UPSERT) -> Changeset:
        """Return a change of some meters of a host."""
        self._sets += 1
        spec = {"n": revision} if op is Op.UPSERT else {}
        return Changeset(
            f"put-{self._sets}",
            tuple(Resource(self.host(i), "meter", id, revision, spec, op) for id in ids or ("m",)),
        )

    def expected_digests(self) -> dict[str, int]:
        """Return the digest of each node once it has what `publish_fleet` publishes."""
        digests = ExpectedDigests()
        for changeset in self.changesets():
            digests.take(changeset.resources)
        return {
            self.fleet.host(i): digests.of_node(
                self.host(i), (vpc_scope(self.fleet.vpc(j)) for j in self.fleet.host_vpcs(i))
            )
            for i in range(self.fleet.hosts)
        }


def record_of(resource: Resource, changeset: str, index: int, count: int, sent_us: int) -> Record:
    """Return a record as a publisher writes it."""
    spec = EMPTY_SPEC if resource.op is Op.DELETE else encode_spec(resource.spec)
    envelope = Envelope(
        resource.revision, resource.op, 1, changeset, index, count, sent_us, 0, spec
    )
    return encode_key(resource.key), encode(envelope)

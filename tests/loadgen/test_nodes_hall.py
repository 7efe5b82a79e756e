"""A hall: streams shared by many nodes, reads counted for each, moves, waits, and what it costs."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections import defaultdict
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.nodes.digest import digest_of, hash_of
from loadgen.nodes.hall import Hall, Place
from loadgen.nodes.stream import Outcome
from loadgen.nodes.tally import Limits
from southbound.partitioning.placement import Placement, VpcPlacement, address_of
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.resources import Op, Resource, ResourceKey, host_scope, references, vpc_scope
from southbound.wire.control import Marker, Seal, encode_control
from southbound.wire.envelope import encode_spec
from southbound.wire.keys import encode_key, handover_key, scope_prefix, seal_key
from tests.loadgen.scene import START_US, Scene, record_of

_NODE_BYTES_MAX = 1_024

_CLASSES: tuple[tuple[Literal["host", "vpc"], int], ...] = (("host", 2), ("vpc", 1))
TOPOLOGY = Topology(
    region="r",
    azs=(Az(id="az", journal="c1"),),
    clusters=tuple(Cluster(id=id, az="az", bootstrap=("c:1",)) for id in ("c1", "c2")),
    pools=tuple(
        Pool(id=f"{cls}-{id}", cluster=cluster, cls=cls, topics=1, partitions=n, max_per_slot=99)
        for id, cluster in (("a", "c1"), ("b", "c1"), ("c", "c2"))
        for cls, n in _CLASSES
    ),
)
HOSTS = ("h1", "h2", "h3", "h10")
VPCS = ("va", "vb")
VPC_ROW = VpcPlacement(1, (Placement("vpc-a", 0), Placement("vpc-c", 0)))


class World:
    """Logs, a hall, and for each host what it would read and hold if it read alone."""

    def __init__(self) -> None:
        self.logs: defaultdict[Place, list[tuple[bytes, bytes | None]]] = defaultdict(list)
        self.hall = Hall(TOPOLOGY, Limits(grace_us=0))
        self.rows = {host: Placement("host-a", 0) for host in HOSTS}
        self.highest: dict[ResourceKey, Resource] = {}
        self.stays: dict[str, list[tuple[Place, int, int]]] = {host: [] for host in HOSTS}
        self.sets = 0
        for host in HOSTS:
            self.hall.join(host, self.rows[host])
        for vpc in VPCS:
            self.hall.place(vpc, VPC_ROW)

    def place(self, cls: str, id: str, placement: Placement) -> Place:
        """Return the partition of a placement."""
        where = address_of(cls, id, placement, TOPOLOGY)
        return where.cluster, where.topic, where.partition

    def publish(self, *resources: Resource) -> None:
        """Write a changeset of one scope to all its slots."""
        self.sets += 1
        scope = resources[0].scope
        rows = VPC_ROW.replicas if scope.cls == "vpc" else (self.rows[scope.id],)
        for index, resource in enumerate(resources):
            held = self.highest.get(resource.key)
            if held is None or held.revision < resource.revision:
                self.highest[resource.key] = resource
            record = record_of(resource, f"c{self.sets}", index, len(resources), START_US)
            for row in rows:
                self.logs[self.place(scope.cls, scope.id, row)].append(record)

    def move(self, host: str, pool: str) -> None:
        """Move a host: copies, marker, seal."""
        old, scope = self.rows[host], host_scope(host)
        if pool == old.pool:
            return
        source = self.place("host", host, old)
        target = self.place("host", host, Placement(pool, 0))
        new = Placement(pool, 0, old.epoch + 1, len(self.logs[target]))
        for key, value in self.logs[source][old.start :]:
            if key.startswith(scope_prefix(scope)) and b"\x1f!" not in key:
                self.logs[target].append((key, value))
        marker = encode_control(Marker(new.epoch, new.row(), new.start))
        self.logs[source].append((handover_key(scope, new.epoch), marker))
        self.stays[host].append((source, old.start, len(self.logs[source])))
        seal = encode_control(Seal(new.epoch))
        self.logs[target].append((seal_key(scope, new.epoch), seal))
        self.rows[host] = new

    def read(self, choice: int) -> bool:
        """Bring the next record of some partition."""
        ready = [
            (place, at)
            for place, at in sorted(self.hall.positions().items())
            if at < len(self.logs[place])
        ]
        if not ready:
            return False
        place, offset = ready[choice % len(ready)]
        self.hall.feed(place, offset, *self.logs[place][offset], START_US)
        self.hall.tick(START_US)
        for order in self.hall.orders:
            if order.unmarked:
                self.hall.mark(order.place, len(self.logs[order.place]), START_US)
        self.hall.orders.clear()
        return True

    def read_all(self, choice: int) -> None:
        """Bring everything."""
        while self.read(choice):
            choice = choice * 7 + 1

    def expected(self, host: str) -> int:
        """Return the digest of the highest revisions, of what has everything that it refers to."""
        own = [one for key, one in self.highest.items() if key.scope == host_scope(host)]
        vpcs = {str(one.spec["vpc_id"]) for one in own if one.kind == "port" and one.spec}
        scopes = {host_scope(host), *map(vpc_scope, vpcs)}
        there = {key: one for key, one in self.highest.items() if key.scope in scopes and one.spec}
        while True:
            whole = {
                key: one
                for key, one in there.items()
                if all(named in there for named in references(key, one.spec))
            }
            if len(whole) == len(there):
                return digest_of(
                    hash_of(encode_key(key), one.revision, encode_spec(one.spec))
                    for key, one in whole.items()
                )
            there = whole

    def reads(self) -> tuple[int, int]:
        """Return how many records hosts read in host slots, each by itself, and of those its own."""
        read = own = 0
        for host in HOSTS:
            place = self.place("host", host, self.rows[host])
            stays = [*self.stays[host], (place, self.rows[host].start, len(self.logs[place]))]
            prefix = scope_prefix(host_scope(host))
            for where, first, end in stays:
                read += end - first
                own += sum(key.startswith(prefix) for key, _ in self.logs[where][first:end])
        return read, own


@st.composite
def _changes(draw: st.DrawFn) -> tuple[Resource, ...]:
    """Changes whose VPCs' named resources are never taken away."""
    revision = draw(st.integers(1, 6))
    vpc, host = vpc_scope(draw(st.sampled_from(VPCS))), host_scope(draw(st.sampled_from(HOSTS)))
    groups: list[tuple[Resource, ...]] = [
        (
            Resource(host, "port", "p0", revision, {"vpc_id": VPCS[len(host.id) % 2]}),
            Resource(host, "port", "p1", revision, {"vpc_id": "va", "security_groups": ["g"]}),
        ),
        (Resource(host, "meter", "m", revision, {"n": revision}),),
        (Resource(host, "meter", "m", 5, {}, Op.DELETE),),
        (Resource(vpc, "vpc", vpc.id, revision, {"n": revision}),),
        (Resource(vpc, "security_group", "g", revision, {"n": revision}),),
        (
            Resource(vpc, "subnet", "s", revision, {"vpc_id": vpc.id}),
            Resource(vpc, "neighbor", "n", revision, {"vpc_id": vpc.id, "subnet_id": "s"}),
        ),
    ]
    return draw(st.sampled_from(groups))


_actions = st.one_of(
    st.tuples(st.just("publish"), _changes()),
    st.tuples(st.just("publish"), _changes()),
    st.tuples(st.just("publish"), _changes()),
    st.tuples(st.just("read"), st.integers(0, 9)),
    st.tuples(
        st.just("move"),
        st.tuples(st.sampled_from(HOSTS), st.sampled_from(["host-a", "host-b", "host-c"])),
    ),
)


@given(st.lists(_actions, max_size=40), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_many_nodes_hold_and_read_what_each_would_alone(
    actions: list[tuple[str, Any]], choice: int
) -> None:
    """Streams of VPCs are shared, slots are read once; digests and counts are each node's own."""
    world = World()
    for name, what in actions:
        match name:
            case "publish":
                if what[0].op is Op.DELETE and world.highest.get(what[0].key) is None:
                    continue
                world.publish(*what)
            case "read":
                world.read(what)
            case "move":
                world.move(*what)
    world.read_all(choice)
    for host, digest in world.hall.digests():
        assert digest == world.expected(host), host
    counts = world.hall.counts()
    assert (counts.host.read, counts.host.own) == world.reads()
    assert counts.quarantined == 0
    assert counts.handovers == sum(map(len, world.stays.values()))


def test_a_node_that_joins_late_holds_the_same() -> None:
    """The stream that others follow already is its own too, though it never read a record of it."""
    scene = Scene()
    scene.publish_fleet()
    scene.run()
    i = 5
    scene.hall.nodes.pop(scene.fleet.host(i))
    late = Hall(scene.topology)
    for j in range(scene.fleet.vpcs):
        late.place(scene.fleet.vpc(j), VpcPlacement(1, (Placement("v", 0),)))
    node = late.join(scene.fleet.host(i), Placement("h", 0), high=None)
    place = scene.place(scene.host(i))
    late.mark(place, len(scene.logs[place]), scene.now_us)
    for offset, record in enumerate(scene.logs[place]):
        late.feed(place, offset, *record, scene.now_us)
    assert late.unplaced() == set()
    assert not late.is_settled(node)
    for where, log in scene.logs.items():
        if where in late.unmarked():
            late.mark(where, len(log), scene.now_us)
            for offset, record in enumerate(log):
                late.feed(where, offset, *record, scene.now_us)
    assert late.is_settled(node)
    assert node.digest() == scene.expected_digests()[scene.fleet.host(i)]


def test_what_was_taken_away_gives_a_late_follower_its_own_stream() -> None:
    """Who reads a log anew parks what refers to a VPC that is gone; who was there keeps it."""
    hall = Hall(TOPOLOGY)
    for host in HOSTS[:2]:
        hall.join(host, Placement("host-a", 0))
    hall.place("va", VPC_ROW)
    scope = vpc_scope("va")
    changes = [
        Resource(scope, "vpc", "va", 1, {}),
        Resource(scope, "subnet", "s", 1, {"vpc_id": "va"}),
        Resource(scope, "vpc", "va", 2, {}, Op.DELETE),
    ]
    log = [record_of(one, f"c{n}", 0, 1, START_US) for n, one in enumerate(changes)]
    where = address_of("vpc", "va", VPC_ROW.home, TOPOLOGY)
    place = (where.cluster, where.topic, where.partition)

    def port(host: str) -> None:
        own = address_of("host", host, Placement("host-a", 0), TOPOLOGY)
        at = (own.cluster, own.topic, own.partition)
        one = Resource(host_scope(host), "port", "p", 1, {"vpc_id": "va"})
        slot = hall.slot(*at)
        hall.feed(at, slot.high, *record_of(one, f"p{host}", 0, 1, START_US), START_US)

    port("h1")
    for offset, record in enumerate(log):
        hall.feed(place, offset, *record, START_US)
    port("h2")
    hall.tick(START_US)
    early, late = hall.nodes["h1"], hall.nodes["h2"]
    assert [order.place for order in hall.orders][-1] == place
    assert hall.positions()[place] == 0 or place in hall.unmarked()
    hall.mark(place, len(log), START_US)
    for offset, record in enumerate(log):
        hall.feed(place, offset, *record, START_US)
    subnet = encode_key(changes[1].key)
    assert early.revision_of(subnet) == 1
    assert late.revision_of(subnet) == 0
    assert not hall.is_settled(late)


def test_a_broken_slot_mapping_shows() -> None:
    """A record of a host that nobody here has joined is a stray, not a neighbour's."""
    scene = Scene()
    key, value = record_of(Resource(host_scope("h9"), "meter", "m", 1, {}), "c", 0, 1, 0)
    place = scene.place(scene.host(0))
    assert scene.hall.feed(place, 0, key, value, 0) is Outcome.FOREIGN
    assert scene.hall.feed(place, 0, key, value, 0) is Outcome.PASSED
    assert scene.hall.counts().strays == 1


def test_latencies_count_each_follower() -> None:
    """A change of a VPC has arrived as often as nodes follow it."""
    scene = Scene()
    scene.publish_fleet()
    scene.run()
    before = scene.hall.vpc_spans.count
    followers = sum(0 in scene.fleet.host_vpcs(i) for i in range(12))
    scene.publish(scene.fleet.vpc_changeset(0, 2))
    scene.run(wait_s=0)
    resources = len(scene.fleet.vpc_changeset(0, 2).resources)
    assert scene.hall.vpc_spans.count - before == followers * resources


def test_a_node_costs_less_than_a_kibibyte() -> None:
    """Ten thousand nodes, measured, with three resources each, and without."""
    fleet_hall = Hall(TOPOLOGY)
    count = 10_000
    vpc = vpc_scope("va")
    at = address_of("vpc", "va", VPC_ROW.home, TOPOLOGY)
    first = record_of(Resource(vpc, "vpc", "va", 1, {}), "v", 0, 1, START_US)
    records = []
    for i in range(count):
        scope = host_scope(f"h{i:07d}")
        where = address_of("host", scope.id, Placement("host-a", 0), TOPOLOGY)
        place = (where.cluster, where.topic, where.partition)
        port = Resource(scope, "port", f"p{i:010d}", 1, {"vpc_id": "va"})
        rest = (Resource(scope, "meter", f"m{n}{i:09d}", 1, {"n": n}) for n in range(2))
        records.append((place, [record_of(one, "c", 0, 1, START_US) for one in (port, *rest)]))
    gc.collect()
    tracemalloc.start()
    try:
        for i in range(count):
            fleet_hall.join(f"h{i:07d}", Placement("host-a", 0))
        fleet_hall.place("va", VPC_ROW)
        fleet_hall.feed((at.cluster, at.topic, at.partition), 0, *first, START_US)
        gc.collect()
        joined = tracemalloc.get_traced_memory()[0]
        for place, mine in records:
            slot = fleet_hall.slot(*place)
            for key, value in mine:
                fleet_hall.feed_slot(slot, slot.high, bytes(bytearray(key)), value, START_US)
            fleet_hall.tick(START_US)
        gc.collect()
        filled = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert fleet_hall.counts().unsettled == 0
    entries = fleet_hall.nodes["h0000000"].entries
    resources = sum(sys.getsizeof(one) for pair in entries.items() for one in pair)
    assert len(entries) == 3
    assert joined / count < _NODE_BYTES_MAX / 2
    assert filled / count - resources < _NODE_BYTES_MAX


def test_a_slot_that_a_node_enters_behind_what_was_read_is_to_be_read_again() -> None:
    """Until it is, what comes from further on must not be taken: the node lacks what lies before."""
    hall = Hall(TOPOLOGY)
    for host in ("h1", "h2"):
        hall.join(host, Placement("host-a", 0))
    there = address_of("host", "h1", Placement("host-c", 0), TOPOLOGY)
    slot = hall.slot(there.cluster, there.topic, there.partition)
    hall.feed(
        (there.cluster, there.topic, there.partition), 6, b"h\x1fh9\x1fport\x1fp", b"", START_US
    )
    assert slot.high == 7
    for host, start in (("h2", 7), ("h1", 3)):
        new = Placement("host-c", 0, 2, start)
        own = address_of("host", host, Placement("host-a", 0), TOPOLOGY)
        at = (own.cluster, own.topic, own.partition)
        marker = encode_control(Marker(2, new.row(), start))
        hall.feed(at, hall.slot(*at).high, handover_key(host_scope(host), 2), marker, START_US)
        target = address_of("host", host, new, TOPOLOGY)
        into = hall.slot(target.cluster, target.topic, target.partition)
        assert into.ordered == (start < into.high)

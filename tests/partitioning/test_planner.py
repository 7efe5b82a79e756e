"""Plans: nothing moves that need not, nothing is overfilled, everything drained is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from southbound.errors import CapacityError, ConfigError, PlanError, UnknownScope, WireError
from southbound.partitioning.allocation import Occupancy, slot_index
from southbound.partitioning.draft import Snapshot
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.plan import (
    Goal,
    Plan,
    batches,
    check_topology,
    decode_plan,
    drift,
    encode_plan,
)
from southbound.partitioning.planner import make_plan
from southbound.partitioning.topology import Az, Cluster, Pool, Topology

_CLUSTERS = {"c1": "az-a", "c2": "az-a", "c3": "az-b"}


def topology_of(pools: Mapping[str, tuple[str, str, int, int]]) -> Topology:
    """Return a topology of c1, c2 (az-a) and c3 (az-b): pool to cluster, class, slots, max."""
    return Topology(
        region="test",
        azs=(Az(id="az-a", journal="c1"), Az(id="az-b", journal="c3")),
        clusters=tuple(
            Cluster(id=id, az=az, bootstrap=("127.0.0.1:1",)) for id, az in _CLUSTERS.items()
        ),
        pools=tuple(
            Pool(
                id=id,
                cluster=cluster,
                cls="host" if cls == "host" else "vpc",
                topics=1,
                partitions=slots,
                max_per_slot=most,
            )
            for id, (cluster, cls, slots, most) in pools.items()
        ),
        version=3,
    )


WORLD = topology_of(
    {
        "h1": ("c1", "host", 8, 12),
        "h1b": ("c1", "host", 4, 12),
        "h2": ("c2", "host", 8, 12),
        "h3": ("c3", "host", 8, 12),
        "v1": ("c1", "vpc", 4, 12),
        "v1b": ("c1", "vpc", 4, 12),
        "v2": ("c2", "vpc", 4, 12),
        "v3": ("c3", "vpc", 4, 12),
    }
)


def populated(
    topology: Topology, hosts: Mapping[str, int], vpcs: Mapping[str, tuple[int, ...]] = {}
) -> Snapshot:
    """Return a map with so many hosts in each pool, and VPCs with a replica in each pool named."""
    occupancy = Occupancy(topology.pools)
    rows: dict[str, Placement] = {}
    for pool, count in hosts.items():
        for number in range(count):
            host = f"{pool}-host-{number:03d}"
            choice = occupancy.allocate("host", host, [topology.pool(pool)])
            if choice is not None:
                rows[host] = Placement(pool, choice.probe)
    pools = topology.pools_in("vpc")
    vpc_rows = {
        vpc: VpcPlacement(len(at), tuple(Placement(pools[one].id, 0, epoch=1) for one in at))
        for vpc, at in vpcs.items()
    }
    return Snapshot(topology=topology, map_version=7, hosts=rows, vpcs=vpc_rows)


def after(snapshot: Snapshot, plan: Plan) -> Snapshot:
    """Return the map once a plan has been carried out."""
    hosts, vpcs = dict(snapshot.hosts), dict(snapshot.vpcs)
    for move in plan.moves:
        if move.cls == "host":
            now = hosts[move.id]
            assert now.row() == move.old
            hosts[move.id] = Placement(move.pool, move.probe, now.epoch + 1, 5)
            continue
        row = vpcs[move.id]
        replicas = list(row.replicas)
        if move.action == "move":
            at = [one.row() for one in replicas].index(move.old)
            replicas[at] = Placement(move.pool, move.probe, row.epoch + 1, 5)
        elif move.action == "drop":
            replicas = [one for one in replicas if one.row() != move.old]
        elif move.action == "home":
            there = row.in_cluster(move.cluster, snapshot.topology)
            if there is None:
                pool = snapshot.topology.pools_in("vpc", cluster=move.cluster)[0]
                there = Placement(pool.id, 0, row.epoch + 1, 5)
            replicas = [there, *(one for one in replicas if one != there)]
        vpcs[move.id] = VpcPlacement(row.epoch + 1, tuple(replicas))
    return msgspec.structs.replace(snapshot, hosts=hosts, vpcs=vpcs)


def counts(snapshot: Snapshot) -> Counter[tuple[str, int]]:
    """Return how many hosts and replicas each slot holds."""
    found: Counter[tuple[str, int]] = Counter()
    for cls, rows in (
        ("host", {host: (one,) for host, one in snapshot.hosts.items()}),
        ("vpc", {vpc: row.replicas for vpc, row in snapshot.vpcs.items()}),
    ):
        for id, placements in rows.items():
            for one in placements:
                pool = snapshot.topology.pool(one.pool)
                found[one.pool, slot_index(cls, id, pool, one.probe)] += 1
    return found


def check_sound(snapshot: Snapshot, plan: Plan) -> Snapshot:
    """Check what holds for every plan; return the map after it."""
    assert make_plan(snapshot, plan.goal) == plan
    assert len({(move.cls, move.id, move.action, move.old) for move in plan.moves}) == len(
        plan.moves
    )
    topology = snapshot.topology
    both = counts(snapshot)
    for move in plan.moves:
        old = topology.pool(move.old_placement.pool)
        if move.cls == "host":
            assert topology.cluster(old.cluster).az == topology.cluster(move.cluster).az
        if move.action == "move":
            pool = topology.pool(move.pool)
            both[pool.id, slot_index(move.cls, move.id, pool, move.probe)] += 1
            assert (old.id, move.old_placement.probe) != (pool.id, move.probe)
    entered = {(move.pool) for move in plan.moves if move.action == "move"}
    for (pool_id, _), count in both.items():
        if pool_id in entered:
            # Even while nothing has been given back yet.
            assert count <= topology.pool(pool_id).max_per_slot
    return after(snapshot, plan)


_HOSTS = st.fixed_dictionaries(
    {
        "h1": st.integers(0, 30),
        "h1b": st.integers(0, 15),
        "h2": st.integers(0, 25),
        "h3": st.integers(0, 20),
    }
)


@settings(max_examples=40, deadline=None)
@given(_HOSTS, st.sampled_from(["c1", "c2"]))
def test_a_drained_cluster_is_empty(hosts: dict[str, int], cluster: str) -> None:
    """Every host and replica of the cluster leaves it, and nobody else moves."""
    snapshot = populated(WORLD, hosts, {"a": (0,), "b": (2, 0), "c": (3, 0, 2), "d": (3,)})
    plan = make_plan(snapshot, Goal(kind="drain-cluster", what=(cluster,)))
    done = check_sound(snapshot, plan)
    left = [pool for pool, _ in counts(done) if WORLD.pool(pool).cluster == cluster]
    assert left == []
    for move in plan.moves:
        if move.action in {"move", "drop"}:
            assert WORLD.pool(move.old_placement.pool).cluster == cluster
    assert make_plan(done, plan.goal).moves == ()


@settings(max_examples=40, deadline=None)
@given(_HOSTS, st.integers(0, 7))
def test_a_drained_slot_is_empty(hosts: dict[str, int], partition: int) -> None:
    """Its hosts leave, the others stay; they keep their cluster."""
    snapshot = populated(WORLD, hosts)
    plan = make_plan(snapshot, Goal(kind="drain-slot", what=(f"h1/0/{partition}",)))
    held = counts(snapshot)["h1", partition]
    done = check_sound(snapshot, plan)
    assert len(plan.moves) == held
    assert counts(done)["h1", partition] == 0
    assert {move.cluster for move in plan.moves} <= {"c1"}


@settings(max_examples=40, deadline=None)
@given(_HOSTS)
def test_a_drained_pool_is_empty(hosts: dict[str, int]) -> None:
    """Its hosts go to the cluster's other pool while there is room, replicas always do."""
    snapshot = populated(WORLD, hosts, {"a": (0, 2), "b": (2, 0), "c": (1,)})
    for pool in ("h1", "v1"):
        plan = make_plan(snapshot, Goal(kind="drain-pool", what=(pool,)))
        done = check_sound(snapshot, plan)
        assert not any(one == pool for one, _ in counts(done))
        assert {move.old_placement.pool for move in plan.moves} <= {pool}


@settings(max_examples=60, deadline=None)
@given(_HOSTS, st.sampled_from(["h2", "c2", "h1b"]))
def test_filling_gives_a_fair_share(hosts: dict[str, int], target: str) -> None:
    """Streams move into what is filled only, up to its share and not beyond."""
    snapshot = populated(WORLD, hosts)
    plan = make_plan(snapshot, Goal(kind="fill", what=(target,)))
    done = check_sound(snapshot, plan)
    pool = {"c2": "h2"}.get(target, target)
    assert {move.pool for move in plan.moves} <= {pool}
    total = sum(one.pool in {"h1", "h1b", "h2"} for one in snapshot.hosts.values())
    share = total * WORLD.pool(pool).slots // 20
    before = sum(one.pool == pool for one in snapshot.hosts.values())
    now = sum(one.pool == pool for one in done.hosts.values())
    # Each of the two others keeps its share rounded up.
    assert max(before, share - 2) <= now <= max(before, share)
    assert make_plan(done, plan.goal).moves == ()


@settings(max_examples=60, deadline=None)
@given(_HOSTS)
def test_evening_out_ends(hosts: dict[str, int]) -> None:
    """Afterwards pools and slots are level, and the next plan is empty."""
    snapshot = populated(WORLD, hosts, {f"v{n}": (0,) for n in range(9)})
    plan = make_plan(snapshot, Goal(kind="even", by="occupancy"))
    done = check_sound(snapshot, plan)
    assert make_plan(done, plan.goal).moves == ()
    for peers in (("h1", "h1b", "h2"), ("v1", "v1b")):
        pools = [WORLD.pool(pool) for pool in peers]
        held = {
            one.id: sum(n for (at, _), n in counts(done).items() if at == one.id) for one in pools
        }
        mean = sum(held.values()) / sum(pool.slots for pool in pools)
        gaps = [held[pool.id] - mean * pool.slots for pool in pools]
        above, below = max(gaps), -min(gaps)
        assert min(above, below) <= 1


def test_traffic_is_evened_out() -> None:
    """Streams leave the busiest slot for idle ones; a slot's only stream stays."""
    snapshot = populated(WORLD, {"h2": 40})
    held = counts(snapshot)
    weights = {"h2": [0.0] * 8, "h1": [1.0] * 8, "h1b": [1.0] * 4}
    busiest = max(range(8), key=lambda one: held["h2", one])
    weights["h2"][busiest] = 30.0
    snapshot = msgspec.structs.replace(snapshot, slot_weights=weights)
    plan = make_plan(snapshot, Goal(kind="even", by="traffic"))
    check_sound(snapshot, plan)
    assert plan.moves
    topics = {snapshot.hosts[move.id] for move in plan.moves}
    assert {one.pool for one in topics} == {"h2"}
    change = next(one for one in plan.pools if one.pool == "h2")
    assert change.traffic_before is not None
    assert change.traffic_after is not None
    assert change.traffic_after.max < change.traffic_before.max


def test_named_hosts_go_where_they_are_sent() -> None:
    """Those who are there already stay; another AZ is refused, and so is an unknown host."""
    snapshot = populated(WORLD, {"h1": 4, "h2": 2, "h3": 1})
    names = ("h1-host-000", "h1-host-003", "h2-host-001")
    plan = make_plan(snapshot, Goal(kind="hosts", what=names, to="c2"))
    check_sound(snapshot, plan)
    assert {move.id for move in plan.moves} == set(names[:2])
    assert {move.pool for move in plan.moves} == {"h2"}
    with pytest.raises(PlanError, match="az-a"):
        make_plan(snapshot, Goal(kind="hosts", what=("h1-host-000",), to="c3"))
    with pytest.raises(UnknownScope):
        make_plan(snapshot, Goal(kind="hosts", what=("nobody",), to="c2"))
    with pytest.raises(PlanError, match="no pool of class host"):
        make_plan(snapshot, Goal(kind="hosts", what=("h1-host-000",), to="v1"))


def test_named_vpcs_change_their_home_or_their_slot() -> None:
    """A cluster means the home, a pool of a cluster where the VPC is means the replica's slot."""
    snapshot = populated(WORLD, {}, {"a": (0, 2), "b": (0,)})
    plan = make_plan(snapshot, Goal(kind="vpcs", what=("a", "b"), to="c2"))
    assert [(move.id, move.action, move.cluster) for move in plan.moves] == [
        ("a", "home", "c2"),
        ("b", "home", "c2"),
    ]
    plan = make_plan(snapshot, Goal(kind="vpcs", what=("a",), to="v1b"))
    assert [(move.action, move.pool) for move in plan.moves] == [("move", "v1b")]
    with pytest.raises(PlanError, match="not in cluster"):
        make_plan(snapshot, Goal(kind="vpcs", what=("b",), to="v2"))


def test_a_pinned_vpc_is_alone() -> None:
    """Each replica that shares its slot gets an empty one, in a pool of single slots if there is."""
    world = topology_of(
        {"v1": ("c1", "vpc", 2, 99), "one": ("c1", "vpc", 9, 1), "v2": ("c2", "vpc", 99, 9)}
    )
    snapshot = populated(world, {}, {f"v{n}": (0, 2) for n in range(12)})
    shared = "v3"
    plan = make_plan(snapshot, Goal(kind="pin", what=(shared,)))
    done = check_sound(snapshot, plan)
    held = counts(done)
    assert done.vpcs[shared].home.pool == "one"
    for replica in done.vpcs[shared].replicas:
        pool = world.pool(replica.pool)
        assert held[pool.id, slot_index("vpc", shared, pool, replica.probe)] == 1
    assert make_plan(done, plan.goal).moves == ()


def test_replicas_follow_the_ports() -> None:
    """What no port needs is dropped, but never a home; what ports lack is added."""
    home, other = Placement("v1", 0), Placement("v2", 0, 2)
    snapshot = Snapshot(
        topology=WORLD,
        map_version=1,
        hosts={},
        vpcs={"a": VpcPlacement(2, (home, other)), "b": VpcPlacement(1, (home,))},
        unused=frozenset({("a", "c2"), ("b", "c1")}),
        lacking=frozenset({("b", "c3"), ("a", "c1"), ("nobody", "c2")}),
    )
    plan = make_plan(snapshot, Goal(kind="replicas"))
    assert [(move.action, move.id, move.cluster) for move in plan.moves] == [
        ("add", "b", "c3"),
        ("drop", "a", "c2"),
    ]
    idle = msgspec.structs.replace(snapshot, unused=frozenset(), lacking=frozenset())
    assert make_plan(idle, Goal(kind="replicas")).moves == ()


def test_without_room_there_is_no_plan() -> None:
    """A full AZ is an error that names the host."""
    small = topology_of({"h1": ("c1", "host", 2, 9), "h2": ("c2", "host", 1, 2)})
    snapshot = populated(small, {"h1": 5})
    with pytest.raises(CapacityError, match="h1-host"):
        make_plan(snapshot, Goal(kind="drain-cluster", what=("c1",)))


def test_names_are_checked() -> None:
    """Unknown pools, clusters and slots are errors that name them."""
    snapshot = populated(WORLD, {"h1": 3})
    for kind, what in (
        ("drain-cluster", "c9"),
        ("drain-pool", "h9"),
        ("fill", "x"),
        ("drain-slot", "h9/0/0"),
    ):
        with pytest.raises(PlanError, match=what.partition("/")[0]):
            make_plan(snapshot, Goal(kind=kind, what=(what,)))
    for slot in ("h1", "h1/0/8", "h1/x/0", "h1/0/" + "9" * 5_000):
        with pytest.raises(ConfigError, match="slot"):
            make_plan(snapshot, Goal(kind="drain-slot", what=(slot,)))


def test_a_plan_is_a_file() -> None:
    """It reads back as it was, and its id is that of its content."""
    snapshot = populated(WORLD, {"h1": 9})
    plan = make_plan(snapshot, Goal(kind="drain-pool", what=("h1",)))
    assert decode_plan(encode_plan(plan)) == plan
    assert decode_plan(encode_plan(plan)).id == plan.id
    assert msgspec.structs.replace(plan, map_version=8).id != plan.id
    assert (plan.map_version, plan.topology_version) == (7, 3)
    check_topology(plan, WORLD)
    for bad in (b"", b"{}", b'{"format": 9}', b'{"format": 1}'):
        with pytest.raises(WireError):
            decode_plan(bad)


def test_a_plan_that_holds_a_key_twice_is_refused() -> None:
    """Which of the two counts would be a guess: the key is named."""
    plan = make_plan(populated(WORLD, {"h1": 2}), Goal(kind="drain-pool", what=("h1",)))
    text = msgspec.json.encode(plan)
    host = plan.moves[0].id.encode()
    double = text.replace(b'"id":"' + host, b'"id":"other","id":"' + host, 1)
    assert double != text
    with pytest.raises(WireError, match=r"'id' stands twice"):
        decode_plan(double)


def test_moves_of_two_slots_stand_together() -> None:
    """Batches hold moves of one pair of slots, no more than asked for."""
    snapshot = populated(WORLD, {"h1": 60})
    plan = make_plan(snapshot, Goal(kind="drain-pool", what=("h1",)))
    runs = list(batches(plan.moves, WORLD, 2))
    assert [move for run in runs for move in run] == list(plan.moves)
    assert max(map(len, runs)) == 2
    for run in runs:
        assert (
            len(
                {
                    (one.pool, slot_index("host", one.id, WORLD.pool(one.pool), one.probe))
                    for one in run
                }
            )
            == 1
        )


def test_drift_is_named() -> None:
    """Only what the plan is about counts; a change elsewhere does not."""
    snapshot = populated(WORLD, {"h1": 3, "h2": 2}, {"a": (0, 2)})
    plan = make_plan(snapshot, Goal(kind="drain-cluster", what=("c1",)))
    assert drift(plan, snapshot.hosts, snapshot.vpcs) == []
    other = {**snapshot.hosts, "h2-host-000": Placement("h2", 5, 9, 9)}
    assert drift(plan, other, snapshot.vpcs) == []
    moved = {**snapshot.hosts, "h1-host-000": Placement("h2", 0, 2, 9)}
    assert "host h1-host-000" in str(drift(plan, moved, snapshot.vpcs)[0])

"""From a map and a goal to a plan. Pure.

The rule: nothing moves that need not. Streams are taken in an order that the snapshot alone gives
(the fullest slots first, then by id), each goes to the emptiest pool that it may have and there to
the emptier of its two probes, and a plan made on a map that has reached its goal is empty. Room is
counted as `draft` says; what has none is a `CapacityError` where the goal cannot do without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from southbound.errors import CapacityError, ConfigError, Fault, PlanError, UnknownScope
from southbound.partitioning.allocation import slot_indexes
from southbound.partitioning.draft import Draft, Slot, Snapshot, Stream
from southbound.partitioning.hashing import PROBES_MAX
from southbound.partitioning.levelling import level_pools, level_slots, level_traffic
from southbound.partitioning.load import pool_changes
from southbound.partitioning.placement import VpcPlacement
from southbound.partitioning.plan import Goal, Plan, PlannedMove, in_order
from southbound.partitioning.topology import Pool, Topology


def make_plan(snapshot: Snapshot, goal: Goal) -> Plan:
    """Return the plan that reaches a goal.

    Raises `PlanError` for names that the topology does not have and goals that cannot be reached,
    `CapacityError` when there is no room, `UnknownScope` for hosts and VPCs without a row.
    """
    draft = Draft(snapshot)
    match goal.kind:
        case "drain-cluster":
            _drain_cluster(draft, _only(goal))
        case "drain-pool":
            _drain_slots(draft, _slots_of(snapshot.topology.pool(_only(goal))))
        case "drain-slot":
            _drain_slots(draft, frozenset([parse_slot(_only(goal), snapshot.topology)]))
        case "fill":
            for pool in _pools_named(snapshot.topology, _only(goal)):
                level_pools(draft, draft.peers(pool), only=pool)
        case "even":
            _even(draft, by_traffic=goal.by == "traffic")
        case "hosts":
            _send_hosts(draft, goal.what, goal.to)
        case "vpcs":
            _send_vpcs(draft, goal.what, goal.to)
        case "pin":
            _pin(draft, _only(goal))
        case "replicas":
            _follow_ports(draft)
        case _:
            raise PlanError(f"no such goal: {goal.kind!r}")
    return finished(draft, goal)


def finished(draft: Draft, goal: Goal) -> Plan:
    """Return the plan of everything that a draft has gathered."""
    snapshot = draft.snapshot
    return Plan(
        goal=goal,
        map_version=snapshot.map_version,
        topology_version=snapshot.topology.version,
        moves=in_order(draft.moves, snapshot.topology),
        pools=pool_changes(
            snapshot.topology,
            (draft.counts(after=False), draft.counts(after=True)),
            (draft.traffic(after=False), draft.traffic(after=True))
            if snapshot.slot_weights is not None
            else None,
        ),
    )


def parse_slot(text: str, topology: Topology) -> Slot:
    """Read `pool/topic/partition`. Raises `ConfigError`, or `PlanError` for an unknown pool."""
    name, *numbers = text.split("/")
    are_short = all(one.isascii() and one.isdigit() and len(one) < 10 for one in numbers)
    if len(numbers) != 2 or not are_short:
        fault = Fault("slot", text, "must be pool/topic/partition")
        raise ConfigError("not a slot", [fault])
    pool = topology.pool(name)
    topic, partition = (int(one) for one in numbers)
    if topic >= pool.topics or partition >= pool.partitions:
        fault = Fault("slot", text, f"pool {name} has {pool.topics} x {pool.partitions} slots")
        raise ConfigError("not a slot", [fault])
    return Slot(name, topic * pool.partitions + partition)


def _only(goal: Goal) -> str:
    if len(goal.what) != 1:
        raise PlanError(f"goal {goal.kind} takes one name, not {len(goal.what)}")
    return goal.what[0]


def _pools_named(topology: Topology, name: str) -> list[Pool]:
    """Return a pool, or a cluster's pools of hosts: its VPCs' replicas follow these by themselves."""
    pool = topology.find_pool(name)
    if pool is not None:
        return [pool]
    topology.cluster(name)
    pools = topology.pools_in("host", cluster=name)
    if not pools:
        raise PlanError(f"cluster {name!r} has no pool of hosts to fill")
    return pools


def _slots_of(pool: Pool) -> frozenset[Slot]:
    return frozenset(Slot(pool.id, index) for index in range(pool.slots))


# Draining.


def _drain_slots(draft: Draft, drained: frozenset[Slot]) -> None:
    """Empty slots of one pool; hosts stay in their cluster where it has room, replicas always do."""
    pool = draft.topology.pool(next(iter(drained)).pool)
    whole = len(drained) == pool.slots
    peers = [peer for peer in draft.peers(pool) if not (whole and peer is pool)]
    for stream in draft.streams(pool.id):
        if stream.slot in drained:
            near = [peer for peer in peers if peer.cluster == pool.cluster]
            far = [peer for peer in peers if peer.cluster != pool.cluster]
            draft.move(stream, [*draft.by_load(near), *draft.by_load(far)], drained)


def _drain_cluster(draft: Draft, cluster: str) -> None:
    """Empty a cluster: hosts to the others of its AZ, homes to where the VPC is or may be."""
    topology = draft.topology
    az = topology.cluster(cluster).az
    others = [pool for pool in topology.pools_in("host", az=az) if pool.cluster != cluster]
    for pool in topology.pools_in("host", cluster=cluster):
        for stream in draft.streams(pool.id):
            draft.move(stream, draft.by_load(others))
    homes = _HomeChoice(draft, cluster)
    for pool in topology.pools_in("vpc", cluster=cluster):
        for stream in draft.streams(pool.id):
            row = draft.snapshot.vpcs[stream.id]
            if row.home == stream.placement:
                draft.rehome(stream.id, row, homes.choose(row))
            draft.drop(stream)


class _HomeChoice:
    """Where a VPC's home goes: where the VPC is already, the AZ's own clusters first; else to the
    emptiest cluster, counting those chosen before.
    """

    def __init__(self, draft: Draft, drained: str) -> None:
        self._draft = draft
        topology = draft.topology
        az = topology.cluster(drained).az
        found = {pool.cluster for pool in topology.pools_in("vpc") if pool.cluster != drained}
        near = [one for one in found if topology.cluster(one).az == az]
        self._clusters = sorted(near or found)
        self._chosen = dict.fromkeys(self._clusters, 0)
        self._near = frozenset(near)
        self._drained = drained

    def choose(self, row: VpcPlacement) -> str:
        """Return the cluster for one VPC's home."""
        clusters = [self._draft.topology.pool(one.pool).cluster for one in row.replicas]
        there = [one for one in clusters if one != self._drained]
        if there:
            return next((one for one in there if one in self._near), there[0])
        if not self._clusters:
            raise CapacityError("no other cluster has a pool of VPCs")
        best = min(self._clusters, key=self._load)
        self._chosen[best] += 1
        return best

    def _load(self, cluster: str) -> float:
        pools = self._draft.topology.pools_in("vpc", cluster=cluster)
        total = sum(self._draft.total(pool.id) for pool in pools) + self._chosen[cluster]
        return total / sum(pool.slots for pool in pools)


# Evening out.


def _even(draft: Draft, *, by_traffic: bool) -> None:
    for group in _groups(draft.topology):
        peers = draft.peers(group)
        if by_traffic:
            level_traffic(draft, peers)
        else:
            level_pools(draft, peers)
            level_slots(draft, peers)


def _groups(topology: Topology) -> Iterable[Pool]:
    """Yield one pool of each group among which streams are spread."""
    seen: set[tuple[str, str]] = set()
    for pool in topology.pools:
        where = topology.cluster(pool.cluster).az if pool.cls == "host" else pool.cluster
        if (pool.cls, where) not in seen:
            seen.add((pool.cls, where))
            yield pool


# Named streams.


def _targets(topology: Topology, to: str, cls: str) -> list[Pool]:
    """Return the pools that a name means: one, or a cluster's."""
    pool = topology.find_pool(to)
    if pool is None:
        topology.cluster(to)
        pools = topology.pools_in(cls, cluster=to)
    else:
        pools = [pool] if pool.cls == cls else []
    if not pools:
        raise PlanError(f"{to!r} is no pool of class {cls}, and no cluster that has one")
    return pools


def _find(draft: Draft, cls: str, id: str, pool: str) -> Stream:
    return next(one for one in draft.streams(pool) if (one.cls, one.id) == (cls, id))


def _send_hosts(draft: Draft, hosts: Sequence[str], to: str) -> None:
    topology = draft.topology
    pools = _targets(topology, to, "host")
    names = {pool.id for pool in pools}
    az = topology.cluster(pools[0].cluster).az
    for host in sorted(set(hosts)):
        placement = draft.snapshot.hosts.get(host)
        if placement is None:
            raise UnknownScope("host", host, "it is not registered")
        home = topology.cluster(topology.pool(placement.pool).cluster).az
        if home != az:
            raise PlanError(f"host {host!r} is in AZ {home!r} and cannot go to {to!r} in {az!r}")
        if placement.pool not in names:
            draft.move(_find(draft, "host", host, placement.pool), draft.by_load(pools))


def _send_vpcs(draft: Draft, vpcs: Sequence[str], to: str) -> None:
    """Give VPCs their home in a cluster; a pool of the home's own cluster means a new slot."""
    topology = draft.topology
    pools = _targets(topology, to, "vpc")
    names = {pool.id for pool in pools}
    for vpc in sorted(set(vpcs)):
        row = draft.snapshot.vpcs.get(vpc)
        if row is None:
            raise UnknownScope("vpc", vpc, "nothing of it has been published")
        there = row.in_cluster(pools[0].cluster, topology)
        if there is None and topology.find_pool(to) is not None:
            raise PlanError(
                f"VPC {vpc!r} is not in cluster {pools[0].cluster!r} yet: name the cluster first"
            )
        if there is not None and there.pool not in names:
            draft.move(_find(draft, "vpc", vpc, there.pool), draft.by_load(pools))
        elif there != row.home:
            draft.rehome(vpc, row, pools[0].cluster)


def _pin(draft: Draft, vpc: str) -> None:
    """Give each replica of a VPC a slot that nobody else is in."""
    row = draft.snapshot.vpcs.get(vpc)
    if row is None:
        raise UnknownScope("vpc", vpc, "nothing of it has been published")
    for replica in row.replicas:
        stream = _find(draft, "vpc", vpc, replica.pool)
        if draft.held(stream.slot) > 1:
            _pin_replica(draft, stream)


def _pin_replica(draft: Draft, stream: Stream) -> None:
    """Pools that take one for each slot come first: there it stays alone."""
    cluster = draft.topology.pool(stream.placement.pool).cluster
    pools = draft.topology.pools_in("vpc", cluster=cluster)
    for pool in sorted(pools, key=lambda pool: (pool.max_per_slot, draft.load(pool))):
        indexes = slot_indexes("vpc", stream.id, pool, PROBES_MAX)
        for probe, index in enumerate(indexes):
            if draft.occupancy.counts[pool.id][index] == 0:
                draft.enter(stream, pool, probe)
                return
    raise CapacityError(
        f"no slot of cluster {cluster!r} is empty for VPC {stream.id!r}: add a pool of VPCs there, "
        "with max_per_slot 1 where it shall stay alone"
    )


def _follow_ports(draft: Draft) -> None:
    """Drop the replicas that no port needs, but never a home; add those that ports lack."""
    snapshot, topology = draft.snapshot, draft.topology
    for vpc, cluster in sorted(snapshot.lacking):
        row = snapshot.vpcs.get(vpc)
        if row is not None and row.in_cluster(cluster, topology) is None:
            draft.add(vpc, row, cluster)
    for pool in topology.pools_in("vpc"):
        for stream in draft.streams(pool.id):
            is_home = snapshot.vpcs[stream.id].home == stream.placement
            if not is_home and (stream.id, pool.cluster) in snapshot.unused:
                draft.drop(stream)


def back(plan_id: str, snapshot: Snapshot, undone: Iterable[PlannedMove]) -> Plan:
    """Return the plan that carries out moves that undo another plan's."""
    draft = Draft(snapshot)
    draft.moves += undone
    return Plan(
        goal=Goal(kind="back", what=(plan_id,)),
        map_version=snapshot.map_version,
        topology_version=snapshot.topology.version,
        moves=in_order(draft.moves, snapshot.topology),
    )

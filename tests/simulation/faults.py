"""What goes wrong, by name: how each fault is done to a world, and how it ends.

The rule: a fault is plain data (when, which, whom, and one number from which the rest is drawn), so a
schedule can be written down and cut down. Nothing here breaks what the promises assume: a cluster
keeps what it acknowledged, and janitors and movers have clocks that are right. What does is in
`DISASTERS`, which is drawn only where the checks know what it excuses.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tests.simulation.fleet import CLUSTERS
from tests.simulation.loop import DAY, HOUR, MINUTE, MS, S, Steps
from tests.simulation.network import REDIS

if TYPE_CHECKING:
    from tests.simulation.world import World


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """One fault; `draw`, from 0 to 1, decides how bad it is."""

    at_us: int
    kind: str
    who: str
    draw: float


class FaultKind(NamedTuple):
    """`target`: whom it can be done to: node, publisher, mover, janitor, cluster, anyone, nobody."""

    target: str
    strike: Callable[[World, Fault], None]


def _pick(fault: Fault, *choices: int) -> int:
    return choices[min(int(fault.draw * len(choices)), len(choices) - 1)]


def _fine(fault: Fault) -> random.Random:
    return random.Random(fault.draw)


def _later(world: World, fault: Fault, after_us: int, act: Callable[[], None]) -> None:
    def steps() -> Steps[None]:
        yield after_us
        act()

    world.loop.spawn(f"{fault.kind} ends", steps())


# Nodes.


def _kill_node(world: World, fault: Fault) -> None:
    node = world.nodes[fault.who]
    if node.is_up:
        node.effects_left = int(fault.draw * 8)


def _lose_power(world: World, fault: Fault) -> None:
    node = world.nodes[fault.who]
    if node.is_up:
        node.die()
        node.disk.lose_power(1 + int(fault.draw * 4))
        world.invariants.lost_memory(node)
        _later(world, fault, _pick(fault, S, 20 * S), lambda: world.start_node(node))


def _wipe_disk(world: World, fault: Fault) -> None:
    node = world.nodes[fault.who]
    if node.is_up:
        node.die()
        node.disk.wipe()
        world.invariants.lost_memory(node)
        _later(world, fault, _pick(fault, S, 20 * S), lambda: world.start_node(node))


def _leave_node(world: World, fault: Fault) -> None:
    node = world.nodes[fault.who]
    if node.is_up:
        node.die()
        away_us = _pick(fault, 10 * S, 5 * MINUTE, 2 * HOUR, 2 * DAY, 5 * DAY, 12 * DAY)
        _later(world, fault, away_us, lambda: world.start_node(node))


def _refuse(world: World, fault: Fault) -> None:
    world.nodes[fault.who].refuses_until_us = world.loop.now_us + _pick(fault, S, 20 * S)


def _slow_node(world: World, fault: Fault) -> None:
    node = world.nodes[fault.who]
    node.batch_max, node.slow_us = _pick(fault, 1, 2, 5), _pick(fault, 30 * MS, S, 200 * S)

    def ends() -> None:
        node.batch_max, node.slow_us = 1_000, 0
        node.wake()

    _later(world, fault, _pick(fault, 10 * S, 30 * S, HOUR), ends)


def _turn_clock(world: World, fault: Fault) -> None:
    node = world.nodes[fault.who]
    node.skew_us = _pick(fault, 2 * S, -2 * S, HOUR, -HOUR, 3_650 * DAY, -3_650 * DAY)
    world.invariants.clocks_differ |= abs(node.skew_us) > 10 * S

    def ends() -> None:
        node.skew_us = 0

    _later(world, fault, _pick(fault, 30 * S, 10 * MINUTE), ends)


# Publishers, movers, janitors.


def _kill_publisher(world: World, fault: Fault) -> None:
    world.replace_publisher(fault.who)


def _freeze(world: World, fault: Fault) -> None:
    world.loop.freeze(f"{fault.who} ", _pick(fault, S, 10 * S, 50 * S, 100 * S, 2 * HOUR))


def _kill_mover(world: World, fault: Fault) -> None:
    world.replace_mover(fault.who)


def _overtake(world: World, fault: Fault) -> None:
    world.resume(fault.who, abandons=fault.draw < 0.3)


def _fall_back(world: World, fault: Fault) -> None:
    for id in list(world.ledger.records):
        world.ledger.fall_back(id, 1 + int(fault.draw * 6))
    world.resume(fault.who, abandons=fault.draw > 0.8)


def _kill_janitor(world: World, fault: Fault) -> None:
    world.replace_janitor()


def _sweep(world: World, fault: Fault) -> None:
    world.sweep_once()


# Clusters and the network.


def _change_leader(world: World, fault: Fault) -> None:
    for partition in world.clusters[fault.who].partitions.values():
        partition.change_leader()


def _stop_cluster(world: World, fault: Fault) -> None:
    world.network.down.add(fault.who)

    def ends() -> None:
        world.network.down.discard(fault.who)
        world.reconnect()

    for partition in world.clusters[fault.who].partitions.values():
        partition.change_leader()
    _later(world, fault, _pick(fault, S, 10 * S, 50 * S, 10 * MINUTE), ends)


def _cut(world: World, fault: Fault) -> None:
    way = (fault.who, _fine(fault).choice((*CLUSTERS, REDIS)))
    world.network.cut.add(way)

    def ends() -> None:
        world.network.cut.discard(way)
        world.reconnect()

    _later(world, fault, _pick(fault, S, 20 * S, 50 * S, 10 * MINUTE), ends)


def _slow_network(world: World, fault: Fault) -> None:
    world.network.slowness = float(_pick(fault, 3, 10, 40))

    def ends() -> None:
        world.network.slowness = 1.0

    _later(world, fault, _pick(fault, 5 * S, 30 * S), ends)


def _duplicate(world: World, fault: Fault) -> None:
    world.network.duplicates = 0.2


def _compact(world: World, fault: Fault) -> None:
    world.compact()


# Redis.


def _fail_redis_over(world: World, fault: Fault) -> None:
    world.redis.fail_over(1 + int(fault.draw * 12))


def _flush_redis(world: World, fault: Fault) -> None:
    world.redis.flush()


def _stop_redis(world: World, fault: Fault) -> None:
    world.network.down.add(REDIS)

    def ends() -> None:
        world.network.down.discard(REDIS)
        world.redis.break_connections()

    _later(world, fault, _pick(fault, S, 30 * S, 10 * MINUTE), ends)


def _isolate(world: World, fault: Fault) -> None:
    world.redis.isolate(fault.who, 1 + int(fault.draw * 8))

    def ends() -> None:
        world.redis.isolated.pop(fault.who, None)

    _later(world, fault, _pick(fault, 5 * S, 60 * S), ends)


# Disasters: what no promise survives without the control plane's publishing everything again.


def _wipe_cluster(world: World, fault: Fault) -> None:
    world.wipe(fault.who)


def _truncate(world: World, fault: Fault) -> None:
    world.truncate(fault.who, 1 + int(fault.draw * 4))


# Workers of public resources.


def _kill_worker(world: World, fault: Fault) -> None:
    world.kill_worker(fault.who, _pick(fault, S, 5 * S, 30 * S))


def _freeze_worker(world: World, fault: Fault) -> None:
    world.loop.freeze(f"{fault.who} ", _pick(fault, S, 8 * S, 15 * S, 60 * S))


WORKER_FAULTS: Mapping[str, FaultKind] = {
    "worker killed": FaultKind("worker", _kill_worker),
    "worker frozen": FaultKind("worker", _freeze_worker),
}
"""What goes wrong with workers, by its name."""


# The tracker service.


def _kill_tracker(world: World, fault: Fault) -> None:
    """Let it die at a commit that is still to come, or now, for longer."""
    if world.schedule.is_tracked:
        if fault.draw < 0.5:
            world.tracker.deaths = int(fault.draw * 24)
        else:
            world.tracker.die(_fine(fault).choice((S, 30 * S, HOUR, 4 * DAY)))


def _refuse_tracker(world: World, fault: Fault) -> None:
    if world.schedule.is_tracked:
        world.tracker.refuses_until_us = world.loop.now_us + _pick(fault, S, 20 * S, 10 * MINUTE)


TRACKER_FAULTS: Mapping[str, FaultKind] = {
    "tracker killed": FaultKind("tracker", _kill_tracker),
    "tracker's disk refuses": FaultKind("tracker", _refuse_tracker),
}
"""What goes wrong with the tracker service, by its name."""


# Traps: they wait for their moment.


def _spring_step(world: World, fault: Fault) -> None:
    world.traps.set_step(fault.who, fault.draw)


def _spring_null(world: World, fault: Fault) -> None:
    world.traps.nulls += 1


def _spring_clock(world: World, fault: Fault) -> None:
    world.traps.clocks = _pick(fault, 1, 2, 2)


TRAPS: Mapping[str, FaultKind] = {
    "mover dies at a step": FaultKind("mover", _spring_step),
    "null overtaken": FaultKind("janitor", _spring_null),
    "clock ahead at leaving": FaultKind("janitor", _spring_clock),
}
"""Every trap by its name."""

DISASTERS: Mapping[str, FaultKind] = {
    "cluster wiped": FaultKind("cluster", _wipe_cluster),
    "log truncated": FaultKind("cluster", _truncate),
}
"""Every disaster by its name."""

FAULTS: Mapping[str, FaultKind] = {
    "agent killed": FaultKind("node", _kill_node),
    "node loses power": FaultKind("node", _lose_power),
    "agent's disk wiped": FaultKind("node", _wipe_disk),
    "node away": FaultKind("node", _leave_node),
    "applier refuses": FaultKind("node", _refuse),
    "agent slow": FaultKind("node", _slow_node),
    "agent's clock jumps": FaultKind("node", _turn_clock),
    "publisher killed": FaultKind("publisher", _kill_publisher),
    "process frozen": FaultKind("anyone", _freeze),
    "mover killed": FaultKind("mover", _kill_mover),
    "mover overtaken": FaultKind("mover", _overtake),
    "move's record falls back": FaultKind("mover", _fall_back),
    "janitor killed": FaultKind("janitor", _kill_janitor),
    "two janitors": FaultKind("janitor", _sweep),
    "leader changes": FaultKind("cluster", _change_leader),
    "cluster down": FaultKind("cluster", _stop_cluster),
    "link cut": FaultKind("anyone", _cut),
    "network slow": FaultKind("", _slow_network),
    "requests repeated": FaultKind("", _duplicate),
    "compaction": FaultKind("", _compact),
    "Redis fails over": FaultKind("", _fail_redis_over),
    "Redis flushed": FaultKind("", _flush_redis),
    "Redis down": FaultKind("", _stop_redis),
    "Redis split": FaultKind("anyone", _isolate),
}
"""Every fault by its name."""

ALL_FAULTS: Mapping[str, FaultKind] = {
    **FAULTS,
    **WORKER_FAULTS,
    **TRACKER_FAULTS,
    **TRAPS,
    **DISASTERS,
}
"""Everything that a schedule may name."""

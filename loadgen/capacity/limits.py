"""What a plan runs into as its fleet grows: which limit first, and at how many hosts. Pure.

The rule: pools and clusters are laid down once, so growth is computed with the plan's clusters, topics
and brokers kept, and changes growing with hosts; each limit is met where its load first passes its
ceiling, computed by the same formulas as the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from loadgen.capacity.formulas import CHOSEN, evaluate

Kind = Literal["aim", "ceiling"]

_FLEETS_MAX = 1_000_000_000
_GROWS = ("changes_per_s", "vpc_changes_per_s")


class Bound(NamedTuple):
    """Something that must not pass something. `of_broker`: more brokers mend it."""

    resource: str
    load: str
    ceiling: str
    unit: str
    kind: Kind
    of_broker: bool = False


class Limit(NamedTuple):
    """One bound of one plan. `hosts`: at how many it is passed; None where growth never meets it."""

    resource: str
    kind: Kind
    load: float
    ceiling: float
    unit: str
    used: float
    hosts: int | None


BOUNDS: tuple[Bound, ...] = (
    Bound("hosts of a slot, mean", "hosts_in_slot", "hosts_per_slot", "hosts", "aim"),
    Bound("hosts of the fullest slot", "fullest_slot", "max_per_slot", "hosts", "ceiling"),
    Bound("VPCs of a slot", "vpcs_in_slot", "vpcs_per_slot", "VPCs", "aim"),
    Bound(
        "partitions of a broker",
        "replicas_on_broker",
        "replicas_per_broker",
        "partitions",
        "aim",
        of_broker=True,
    ),
    Bound("CPU of a broker", "broker_cpu", "broker_cores_aimed", "cores", "aim", of_broker=True),
    Bound(
        "memory of a broker",
        "broker_memory",
        "broker_memory_bytes",
        "bytes",
        "ceiling",
        of_broker=True,
    ),
    Bound("open files of a broker", "broker_files", "files", "files", "ceiling", of_broker=True),
    Bound("memory maps of a broker", "broker_maps", "maps", "maps", "ceiling", of_broker=True),
    Bound(
        "disk of a broker", "broker_disk", "broker_disk_bytes", "bytes", "ceiling", of_broker=True
    ),
    Bound(
        "restart of the fleet, brokers",
        "restart_brokers_s",
        "restart_s_aimed",
        "s",
        "aim",
        of_broker=True,
    ),
    Bound("restart of the fleet, Redis", "restart_redis_s", "restart_s_aimed", "s", "aim"),
    Bound("memory of Redis", "redis_memory", "redis_memory_bytes", "bytes", "ceiling"),
    Bound("publishers, a core each", "publisher_cpu", "publishers", "cores", "ceiling"),
)


def passed(values: Mapping[str, float], bounds: tuple[Bound, ...] = BOUNDS) -> list[Bound]:
    """Return the bounds that these numbers, formulas included, do not keep."""
    return [bound for bound in bounds if values[bound.load] > values[bound.ceiling]]


def limits(given: Mapping[str, float], planned: Mapping[str, float]) -> list[Limit]:
    """Return every limit of a plan, the first met first, those that are never met last.

    `given`: the numbers that the plan was made from, brokers included. `planned`: what came out.
    """
    kept = {**given, **{name: planned[name] for name in CHOSEN}}
    found = [
        Limit(
            bound.resource,
            bound.kind,
            planned[bound.load],
            planned[bound.ceiling],
            bound.unit,
            planned[bound.load] / planned[bound.ceiling],
            _met_at(kept, bound),
        )
        for bound in BOUNDS
    ]
    return sorted(found, key=lambda one: (one.hosts or _FLEETS_MAX + 1, -one.used))


def _met_at(kept: Mapping[str, float], bound: Bound) -> int | None:
    """Return the smallest fleet that passes a bound; loads grow with hosts."""
    low, high = 0, round(kept["hosts"])
    while not _passes(kept, bound, high):
        if high > _FLEETS_MAX:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _passes(kept, bound, middle):
            high = middle
        else:
            low = middle
    return high


def _passes(kept: Mapping[str, float], bound: Bound, hosts: int) -> bool:
    grown = {**kept, **{name: kept[name] * hosts / kept["hosts"] for name in _GROWS}}
    values = {**grown, "hosts": hosts}
    values.update((one.name, one.value) for one in evaluate(values))
    return values[bound.load] > values[bound.ceiling]

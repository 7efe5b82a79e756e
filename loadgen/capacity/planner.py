"""From a demand to a plan: clusters by formula, brokers as few as keep every bound of a broker. Pure.

The rule: a plan keeps every aim and ceiling or says which it could not keep; what bounds the number
of brokers is the bound that one broker fewer would pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from loadgen.capacity.demand import Aims, Ceilings, Demand, named
from loadgen.capacity.formulas import Quantity, evaluate
from loadgen.capacity.limits import BOUNDS, Limit, limits, passed
from southbound.errors import PlanError

REPLICATION = "replication"
_BROKERS_MAX = 300
_RESTART_BOUNDS = {
    "restart_cpu_s": "CPU of brokers",
    "restart_connect_s": "new connections",
    "restart_network_s": "network of brokers",
    "restart_redis_s": "CPU of Redis",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole plan. `given`: every number that it was made from, unit costs and brokers included."""

    given: Mapping[str, float]
    quantities: tuple[Quantity, ...]
    limits: tuple[Limit, ...]
    brokers_bound_by: str
    restart_bound_by: str

    def value(self, name: str) -> float:
        """Return one quantity."""
        return next(one.value for one in self.quantities if one.name == name)

    @property
    def shape(self) -> str:
        """Clusters x topics x partitions x hosts a slot."""
        clusters, topics = round(self.value("clusters")), round(self.value("host_topics"))
        partitions = round(self.given["partitions"])
        pool = f"{clusters} clusters x {topics} topics x {partitions} partitions"
        return f"{pool} x {self.value('hosts_in_slot'):g} hosts"

    @property
    def breaks(self) -> Limit | None:
        """The first ceiling that growth meets: past aims things get slower, past this they end."""
        return next(
            (one for one in self.limits if one.kind == "ceiling" and one.hosts is not None), None
        )


def plan(demand: Demand, aims: Aims, ceilings: Ceilings, costs: Mapping[str, float]) -> Plan:
    """Plan a fleet. `costs`: unit costs by name.

    Raises `ConfigError` for numbers that cannot be, `PlanError` where no number of brokers will do,
    or where the numbers are so far apart that nothing can be computed from them.
    """
    try:
        found = _plan(demand, aims, ceilings, costs)
    except (ArithmeticError, ValueError) as error:
        raise PlanError(f"these numbers are too far apart for a plan: {error}") from error
    odd = [one.name for one in found.quantities if not math.isfinite(one.value)]
    if odd:
        raise PlanError(f"these numbers are too far apart for a plan: {odd[0]} has no value")
    return found


def _plan(demand: Demand, aims: Aims, ceilings: Ceilings, costs: Mapping[str, float]) -> Plan:
    values = {**named(demand, aims, ceilings), **costs}
    # Two names that are both an input and an outcome.
    values["restart_s_aimed"] = values.pop("restart_s")
    values["broker_cores_aimed"] = ceilings.broker_cores * aims.cpu_share
    bound_by = REPLICATION
    for brokers in range(round(aims.replication), _BROKERS_MAX + 1):
        given = {**values, "brokers": float(brokers)}
        quantities = evaluate(given)
        planned = {**given, **{one.name: one.value for one in quantities}}
        over = passed(planned, _OF_BROKERS)
        if not over:
            found = tuple(limits(given, planned))
            return Plan(given, tuple(quantities), found, bound_by, _restart_bound(planned))
        bound_by = max(over, key=lambda one: planned[one.load] / planned[one.ceiling]).resource
    raise PlanError(f"no {_BROKERS_MAX} brokers a cluster keep the {bound_by}: use more clusters")


_OF_BROKERS = tuple(bound for bound in BOUNDS if bound.of_broker)


def _restart_bound(planned: Mapping[str, float]) -> str:
    return _RESTART_BOUNDS[max(_RESTART_BOUNDS, key=lambda name: planned[name])]

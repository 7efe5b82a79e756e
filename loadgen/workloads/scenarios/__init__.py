"""One file for each scenario; `SCENARIOS` names them all with what they are by default."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from loadgen.workloads.scenarios.az_loss import AzLoss
from loadgen.workloads.scenarios.churn import Churn
from loadgen.workloads.scenarios.first_fill import FirstFill
from loadgen.workloads.scenarios.fleet_restart import FleetRestart
from loadgen.workloads.scenarios.group_change import GroupChange
from loadgen.workloads.scenarios.neighbor_storm import NeighborStorm
from loadgen.workloads.scenarios.publics import Publics
from loadgen.workloads.scenarios.rebalance import Rebalance
from loadgen.workloads.steps import Scenario

_ALL: tuple[Scenario, ...] = (
    FirstFill(),
    Churn(),
    GroupChange(),
    NeighborStorm(),
    AzLoss(),
    FleetRestart(),
    Rebalance(),
    Publics(),
)

SCENARIOS: Mapping[str, Scenario] = MappingProxyType({one.name: one for one in _ALL})

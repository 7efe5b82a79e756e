"""Which scenarios workers can enact, and from which revision on. Pure.

The rule: workers publish and read. What stops, empties or moves nodes is not for them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from loadgen.workloads.scenarios import SCENARIOS
from loadgen.workloads.steps import Scenario
from southbound.errors import ConfigError, Fault

ACTING = frozenset({"az-loss", "fleet-restart", "rebalance"})
"""Scenarios that stop, empty or move nodes."""

FILL = "first-fill"
"""The scenario that begins with nodes that hold nothing."""


def scenario_of(name: str, revision: int, seconds: float | None) -> Scenario:
    """Return a scenario whose first revision is given. Raises `ConfigError` for one that cannot be."""
    found = SCENARIOS.get(name)
    if found is None or name in ACTING:
        possible = ", ".join(sorted(SCENARIOS.keys() - ACTING))
        raise ConfigError(
            "no such scenario for workers", [Fault("scenario", name, f"must be one of {possible}")]
        )
    changes: dict[str, Any] = {"revision": revision}
    if seconds is not None:
        if not hasattr(found, "seconds"):
            raise ConfigError(
                "not this scenario's", [Fault("seconds", seconds, f"{name} ends by itself")]
            )
        changes["seconds"] = seconds
    return cast("Scenario", dataclasses.replace(cast("Any", found), **changes))

"""An applier's time, measured around any applier.

The rule: it changes nothing of what passes through.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from southbound.nca.appliers.base import Applier
from southbound.nca.counters import Lag
from southbound.nca.plan import Plan
from southbound.resources import ResourceKey


class TimedApplier:
    """Calls `applier`, and counts in `took` how long each plan takes, in seconds."""

    def __init__(self, applier: Applier) -> None:
        self.took = Lag()
        self._applier = applier

    def open(self) -> None:
        """Open the applier."""
        self._applier.open()

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Apply the plan; what fails takes its time, too."""
        began_s = time.perf_counter()
        try:
            return self._applier.apply(plan)
        finally:
            self.took.observe(time.perf_counter() - began_s)

    def close(self) -> None:
        """Close the applier."""
        self._applier.close()

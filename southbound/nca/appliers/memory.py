"""An applier that keeps everything in memory, for tests, benchmarks and simulations.

The rule: it keeps the contract that every applier keeps (an older revision never replaces a newer
one, a complete scope loses what the plan does not name, a scope that is none of the only ones goes, a
failure is one resource's own), so what passes with it means something.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from southbound.nca.plan import Change, Plan
from southbound.resources import Op, ResourceKey

Refusal = Callable[[Change], str | None]


class MemoryApplier:
    """Holds `resources`: (revision, spec) by key; and the last `plans_max` plans, oldest first.

    `refuse` may return a reason for which a change is to fail.
    """

    def __init__(self, refuse: Refusal | None = None, *, plans_max: int = 1_000) -> None:
        self.resources: dict[ResourceKey, tuple[int, Mapping[str, Any]]] = {}
        self.plans: deque[Plan] = deque(maxlen=plans_max)
        self.is_open = False
        self._refuse = refuse

    def open(self) -> None:
        """Note that it was opened."""
        self.is_open = True

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Bring the memory to the plan; return the reasons of what was refused."""
        assert self.is_open, "apply before open"
        self.plans.append(plan)
        named = {change.key for change in plan.changes}
        for key in [key for key in self.resources if key.scope in plan.complete]:
            if key not in named:
                del self.resources[key]
        if plan.only is not None:
            for key in [key for key in self.resources if key.scope not in plan.only]:
                del self.resources[key]
        failed = {}
        for change in plan.changes:
            reason = self._refuse(change) if self._refuse is not None else None
            if reason is not None:
                failed[change.key] = reason
            else:
                self._change(change)
        return failed

    def close(self) -> None:
        """Note that it was closed; the resources stay."""
        self.is_open = False

    def _change(self, change: Change) -> None:
        held = self.resources.get(change.key)
        if held is not None and held[0] > change.revision:
            return
        if change.op is Op.DELETE:
            self.resources.pop(change.key, None)
        else:
            self.resources[change.key] = (change.revision, change.spec)

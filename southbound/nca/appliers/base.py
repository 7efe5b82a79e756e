"""The interface between the agent and whatever programs the node.

The rule: an applier is idempotent (the agent applies a change again after a crash, never an older
one), and it never raises for one resource's sake: it returns what became of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from southbound.nca.plan import Plan
from southbound.resources import ResourceKey


class Applier(Protocol):
    """Programs a node. One thread calls it; it may block for as long as programming takes."""

    def open(self) -> None:
        """Get ready; raises `ConfigError` or `EdgeError` when it cannot work at all."""

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Apply a plan; return a reason for each resource that failed (empty: all applied)."""
        ...

    def close(self) -> None:
        """Release what `open` took. What was applied stays."""

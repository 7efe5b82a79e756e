"""Resources whose references are not there yet wait here. Pure.

The rule: who waits, and for what, is known from both ends, so that an arriving resource wakes
exactly those that name it.
"""

from __future__ import annotations

from collections import Counter

from southbound.resources import ResourceKey, Scope

_SHOWN_MAX = 5


class Parking:
    """Waiting resources, by what they wait for."""

    def __init__(self) -> None:
        self._missing: dict[ResourceKey, tuple[ResourceKey, ...]] = {}
        self._waiting: dict[ResourceKey, set[ResourceKey]] = {}
        self._in_scope: Counter[Scope] = Counter()

    def __len__(self) -> int:
        """Return the number of waiting resources."""
        return len(self._missing)

    def park(self, key: ResourceKey, missing: tuple[ResourceKey, ...]) -> None:
        """Let `key` wait for all of `missing` (at least one)."""
        self.unpark(key)
        self._missing[key] = missing
        self._in_scope[key.scope] += 1
        for wanted in missing:
            self._waiting.setdefault(wanted, set()).add(key)

    def unpark(self, key: ResourceKey) -> None:
        """Let `key` wait no more, if it did."""
        missing = self._missing.pop(key, None)
        if missing is None:
            return
        self._in_scope[key.scope] -= 1
        for wanted in missing:
            waiting = self._waiting.get(wanted)
            if waiting is not None:
                waiting.discard(key)
                if not waiting:
                    del self._waiting[wanted]

    def waiting_for(self, key: ResourceKey) -> tuple[ResourceKey, ...]:
        """Return who names `key` among what it misses, in a stable order."""
        waiting = self._waiting.get(key)
        return tuple(sorted(waiting)) if waiting else ()

    def count_in(self, scope: Scope) -> int:
        """Return how many resources of a scope wait."""
        return self._in_scope[scope]


def describe(missing: tuple[ResourceKey, ...]) -> str:
    """Say what is missing, in a line short enough for a report."""
    shown = ", ".join(str(key) for key in missing[:_SHOWN_MAX])
    more = len(missing) - _SHOWN_MAX
    return f"waits for {shown}" + (f" and {more} more" if more > 0 else "")

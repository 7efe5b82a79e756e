"""Backoff of what failed and is tried again. Pure.

The rule: the wait doubles with each failure up to a limit, and success forgets it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from math import inf
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)

_DOUBLINGS_MAX = 32


class Retries(Generic[_Key]):
    """When each failed thing is due again. `first_s` and `max_s` bound the wait."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._due: dict[_Key, tuple[float, int]] = {}

    def __len__(self) -> int:
        """Return how many things wait to be tried again."""
        return len(self._due)

    def __contains__(self, key: object) -> bool:
        """Tell whether the thing has failed and not succeeded since."""
        return key in self._due

    def __iter__(self) -> Iterator[_Key]:
        """Yield what has failed and not succeeded since."""
        return iter(self._due)

    def failed(self, key: _Key, now_s: float) -> None:
        """Note a failure; the next attempt is due after the wait."""
        failures = self._due.get(key, (0.0, 0))[1]
        wait_s = min(self._first_s * 2 ** min(failures, _DOUBLINGS_MAX), self._max_s)
        self._due[key] = (now_s + wait_s, failures + 1)

    def waits(self, key: _Key) -> None:
        """Keep what is being tried from being due until its answer comes; its failures stay."""
        if key in self._due:
            self._due[key] = (inf, self._due[key][1])

    def done(self, key: _Key) -> None:
        """Forget the thing's failures, if it had any."""
        self._due.pop(key, None)

    def due(self, now_s: float) -> list[_Key]:
        """Return what is to be tried now; it stays until `failed` or `done`."""
        return [key for key, (at_s, _) in self._due.items() if at_s <= now_s]

    def deadline_s(self) -> float | None:
        """Return when the next thing is due."""
        return min((at_s for at_s, _ in self._due.values() if at_s < inf), default=None)

"""What grows: samples over time, the line through them, and how steep it may be. Pure.

The rule: the first third of a run is warming up and does not count; a slope is judged by its bound
and by nothing else, so a leak that is slow is found by a longer run, not by a sharper eye.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class Slope(msgspec.Struct, frozen=True, kw_only=True):
    """How one quantity moved. `per_minute` and `bound` in its unit per minute."""

    name: str
    first: float
    last: float
    per_minute: float
    bound: float
    samples: int

    @property
    def is_within(self) -> bool:
        """Whether it grows no faster than it may."""
        return self.per_minute <= self.bound


def slope_of(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the least-squares line through (seconds, value), per minute."""
    count = len(points)
    if count < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0
    return 60.0 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


class Growth:
    """Samples of several quantities."""

    def __init__(self) -> None:
        self._points: dict[str, list[tuple[float, float]]] = {}

    def take(self, at_s: float, values: Mapping[str, float]) -> None:
        """Add one sample of each quantity."""
        for name, value in values.items():
            self._points.setdefault(name, []).append((at_s, value))

    def slopes(self, bounds: Mapping[str, float]) -> list[Slope]:
        """Return how each quantity moved after the first third; a bound goes by a name's last word."""
        return [
            Slope(
                name=name,
                first=settled[0][1],
                last=settled[-1][1],
                per_minute=round(slope_of(settled), 3),
                bound=bounds[name.rpartition(" ")[2]],
                samples=len(settled),
            )
            for name, points in sorted(self._points.items())
            if (settled := points[len(points) // 3 :])
        ]

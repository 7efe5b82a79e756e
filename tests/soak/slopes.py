"""What grows: samples over time, the lines through them, and how steep they may be. Pure.

The rule: growth is what goes on. The first third of a run is warming up and does not count; of the
other two thirds each has a line of its own, the median of the slopes between its samples, and the
flatter of both is judged. So caches that fill, and a step (a log before its first merge, an arena
that a crowd of retries needed once), are no leak, while what leaks all the time has no flat third.
A leak that is slower than the bound is found by a longer run, not by a sharper eye.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median

import msgspec

_POINTS_MAX = 120


class Bound(msgspec.Struct, frozen=True):
    """How fast a quantity may grow: `per_minute`, or `in_all` within a third of the run: its noise."""

    per_minute: float
    in_all: float


class Slope(msgspec.Struct, frozen=True, kw_only=True):
    """How one quantity moved after the first third, in its unit and its unit per minute.

    `per_minute` is the flatter of `middle` and `end`, the slopes of the second and the last third.
    `bound` is what it was judged by: the wider of what a `Bound` allows.
    """

    name: str
    first: float
    last: float
    per_minute: float
    bound: float
    samples: int
    middle: float = 0.0
    end: float = 0.0

    @property
    def is_within(self) -> bool:
        """Whether it grows no faster than it may."""
        return self.per_minute <= self.bound


Points = Sequence[tuple[float, float]]


def slope_of(points: Points) -> float:
    """Return the median of the slopes between any two of (seconds, value), per minute (Theil, Sen)."""
    step = -(-len(points) // _POINTS_MAX)
    slopes = [
        60.0 * (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in combinations(points[:: max(step, 1)], 2)
        if later[0] > earlier[0]
    ]
    return median(slopes) if slopes else 0.0


class Growth:
    """Samples of several quantities."""

    def __init__(self) -> None:
        self._points: dict[str, list[tuple[float, float]]] = {}

    def take(self, at_s: float, values: Mapping[str, float]) -> None:
        """Add one sample of each quantity."""
        for name, value in values.items():
            self._points.setdefault(name, []).append((at_s, value))

    def slopes(self, bounds: Mapping[str, Bound]) -> list[Slope]:
        """Return how each quantity moved; its bound goes by its name's last word."""
        return [
            _slope(name, points, bounds[name.rpartition(" ")[2]])
            for name, points in sorted(self._points.items())
        ]


def _slope(name: str, points: Points, bound: Bound) -> Slope:
    begin_s, end_s = points[0][0], points[-1][0]
    third_s = (end_s - begin_s) / 3
    middle = [one for one in points if third_s <= one[0] - begin_s < 2 * third_s]
    end = [one for one in points if one[0] - begin_s >= 2 * third_s]
    slopes = slope_of(middle), slope_of(end)
    settled = [*middle, *end]
    allowed = bound.in_all / (third_s / 60) if third_s else bound.in_all
    return Slope(
        name=name,
        first=round(settled[0][1], 3),
        last=round(settled[-1][1], 3),
        per_minute=round(min(slopes), 3),
        bound=round(max(bound.per_minute, allowed), 3),
        samples=len(settled),
        middle=round(slopes[0], 3),
        end=round(slopes[1], 3),
    )

from __future__ import annotations

import math
import random

import pytest

from tests.soak.slopes import Bound, Growth, Slope, slope_of

BOUNDS = {"MiB": Bound(per_minute=0.5, in_all=2.0)}
MINUTES = 30


def judged(values: list[float]) -> Slope:
    """Return how a quantity moved that was looked at twice a minute, in half an hour."""
    growth = Growth()
    for number, value in enumerate(values):
        growth.take(number * 30.0, {"agent MiB": value})
    (found,) = growth.slopes(BOUNDS)
    return found


def test_a_line_has_its_slope() -> None:
    """Per minute, whatever the distances, and whatever a few of its points do."""
    assert slope_of([(0, 5), (10, 6), (40, 9)]) == pytest.approx(6)
    assert slope_of([(0, 5)]) == 0
    assert slope_of([(3, 5), (3, 9)]) == 0
    assert slope_of([(n, 70.0 if n % 9 == 0 else n) for n in range(60)]) == pytest.approx(60, abs=2)


def test_a_leak_is_found() -> None:
    """A mebibyte a minute, under noise; by its own slope and by nothing of its level."""
    noise = random.Random(7)
    leak = judged([40 + n / 2 + noise.uniform(-3, 3) for n in range(2 * MINUTES)])
    assert not leak.is_within
    assert leak.per_minute == pytest.approx(1.0, abs=0.35)


@pytest.mark.parametrize(
    "value",
    [
        lambda n: 40.0 + min(n, 18) * 2,  # a cache that fills
        lambda n: 40.0 + 20 * (1 - math.exp(-n / 8)),  # an arena that levels off
        lambda n: 40.0 + (25 if n > 33 else 0),  # one step
        lambda n: 40.0 + n % 11,  # a log that is merged again and again
        lambda n: 90.0 - n / 4,
    ],
)
def test_what_levels_off_is_no_leak(value: object) -> None:
    """Warming up, steps, and what comes and goes."""
    assert callable(value)
    assert judged([value(n) for n in range(2 * MINUTES)]).is_within


def test_a_short_run_may_be_noisy() -> None:
    """What little moves within a minute says nothing; a lot does."""
    assert judged([40, 40, 40.2, 40.9]).is_within
    assert not judged([40, 50, 60, 70, 80, 90]).is_within


def test_each_quantity_is_judged_by_its_unit() -> None:
    """The bound goes by the name's last word."""
    growth = Growth()
    for number in range(60):
        growth.take(number * 10, {"agent MiB": 3.0, "agent files": number})
    bounds = {**BOUNDS, "files": Bound(per_minute=0.1, in_all=1.0)}
    found = {one.name: one.is_within for one in growth.slopes(bounds)}
    assert found == {"agent MiB": True, "agent files": False}

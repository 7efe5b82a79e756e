from __future__ import annotations

import pytest

from tests.soak.slopes import Growth, slope_of


def test_a_line_has_its_slope() -> None:
    """Per minute, whatever the distances."""
    assert slope_of([(0, 5), (10, 6), (40, 9)]) == pytest.approx(6)
    assert slope_of([(0, 5)]) == 0
    assert slope_of([(3, 5), (3, 9)]) == 0


def test_warming_up_does_not_count_and_a_leak_does() -> None:
    """The bound goes by the name's last word."""
    growth = Growth()
    for step in range(90):
        growth.take(step, {"a MiB": min(step, 30), "b MiB": step, "b files": 7.0})
    found = {one.name: one for one in growth.slopes({"MiB": 10.0, "files": 0.0})}
    assert found["a MiB"].is_within
    assert found["b files"].is_within
    assert not found["b MiB"].is_within
    assert found["b MiB"].per_minute == pytest.approx(60, abs=0.1)

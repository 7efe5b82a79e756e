from __future__ import annotations

import pytest

from southbound.bench.quantiles import quantile, quantile_rows


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100)])
def test_a_quantile_is_the_sample_of_the_nearest_rank(share: float, value: int) -> None:
    """Nothing is interpolated: of a hundred samples the 99th is p99, and the last one p99.9."""
    assert quantile(range(1, 101), share) == value


def test_one_sample_is_every_quantile() -> None:
    """A single sample stands for all of them."""
    assert [quantile([7.5], share) for share in (0.001, 0.5, 1.0)] == [7.5] * 3


def test_rows_name_the_quantiles_with_their_aims() -> None:
    """Samples may come in any order; the largest is told as well."""
    rows = quantile_rows("applied", [3.0, 1.0, 2.0], "ms", {"p50": "<= 6"})
    assert [(row.metric, row.value, row.aim) for row in rows] == [
        ("applied, p50", 2.0, "<= 6"),
        ("applied, p99", 3.0, ""),
        ("applied, p99.9", 3.0, ""),
        ("applied, max", 3.0, ""),
    ]

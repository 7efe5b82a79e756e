from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.report.documents import Document, Row, read_documents
from loadgen.report.picking import aim_of, curves, growth_of, is_met, sizes, slope
from southbound.errors import ConfigError

_DATA = Path(__file__).parent / "data" / "bench"


def _row(metric: str, value: float, unit: str = "s", aim: str = "") -> Row:
    return Row(metric, value, unit, aim)


def test_the_newest_document_of_each_name_is_taken() -> None:
    """By its own time, whatever its file is called."""
    found = read_documents(_DATA)
    assert not found.refused
    assert found.documents["publish"].at.startswith("2026-11-21")
    assert found.documents["publish"].rows[0].value > 1.0
    assert {"latency", "units", "capacity", "storm", "million"} <= set(found.documents)


def test_what_is_no_document_is_named_and_left_out(tmp_path: Path) -> None:
    """One broken file does not take the report down."""
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"name": "x"}')
    fine = Document("fine", [_row("a", 1.0)], "2026-01-01")
    (tmp_path / "fine.json").write_bytes(msgspec.json.encode(fine))
    found = read_documents(tmp_path)
    assert list(found.documents) == ["fine"]
    assert [fault.place for fault in found.refused] == ["broken.json", "other.json"]
    with pytest.raises(ConfigError, match="no folder"):
        read_documents(tmp_path / "none")


def test_quantiles_of_one_thing_are_one_curve() -> None:
    """In milliseconds, with their aims; what is no time or stands alone is none."""
    rows = [
        _row("applied, p50", 0.005, "s", "<= 0.006"),
        _row("applied, p99", 40.0, "ms", "<= 40"),
        _row("alone, p50", 1.0),
        _row("sizes, p50", 1.0, "bytes"),
        _row("sizes, p99", 2.0, "bytes"),
    ]
    (curve,) = curves(Document("x", rows, "2026"))
    assert curve.points == pytest.approx({"p50": 5.0, "p99": 40.0})
    assert curve.aims == pytest.approx({"p50": 6.0, "p99": 40.0})
    assert curve.ours


def test_sizes_of_one_thing_are_one_line_each() -> None:
    """What was measured goes before what was computed of the same size."""
    rows = [
        _row("1,000 nodes, bytes a node, computed", 9.0, "B"),
        _row("1,000 nodes, bytes a node, measured", 10.0, "B"),
        _row("10,000 nodes, bytes a node, computed", 11.0, "B"),
        _row("10,000 nodes, bytes a node that are its own, computed", 1.0, "B"),
    ]
    baseline = [
        _row("broadcast, 1,000 nodes, bytes a node, measured", 100.0, "B"),
        _row("broadcast, 10,000 nodes, bytes a node, computed", 1_000.0, "B"),
    ]
    ours, broadcast = sizes([Document("x", rows, "2026", baseline)], "bytes a node", "B")
    assert ours.label == ""
    assert ours.points == {1_000: 10.0, 10_000: 11.0}
    assert ours.how == {1_000: "measured", 10_000: "computed"}
    assert broadcast.label == "broadcast"
    assert slope(broadcast.points) == pytest.approx(1.0)


def test_words_before_a_size_name_a_thing_too() -> None:
    """As the planner's comparison does."""
    rows = [_row("fill, 1000 hosts", 1.0), _row("fill, 2000 hosts", 2.0)]
    predicted = [_row("fill, 1000 hosts, predicted", 7.0), _row("fill, 2000 hosts, predicted", 7.0)]
    (line,) = sizes([Document("x", rows, "2026", predicted)], "fill", "s")
    assert line.points == {1_000: 1.0, 2_000: 2.0}
    assert set(line.how.values()) == {"measured"}


@given(exponent=st.floats(-3, 3), factor=st.floats(0.001, 1_000))
def test_the_slope_of_a_power_law_is_its_power(exponent: float, factor: float) -> None:
    """Whatever the factor."""
    points = {size: factor * size**exponent for size in (1_000, 10_000, 1_000_000)}
    assert slope(points) == pytest.approx(exponent, abs=1e-6)


def test_growth_has_a_name() -> None:
    """For who does not read exponents."""
    assert growth_of(0.02) == "hardly grows"
    assert growth_of(1.01) == "grows with the fleet"
    assert growth_of(1.99) == "grows with its square"
    assert growth_of(-0.5) == "shrinks"


def test_aims_are_read_from_words() -> None:
    """At most, at least, or a bare number, which says nothing of better and worse."""
    assert is_met(_row("a", 5.0, aim="<= 6")) is True
    assert is_met(_row("a", 0.5, aim=">= 0.7")) is False
    assert is_met(_row("a", 1.0, aim="1")) is None
    assert aim_of(_row("a", 1.0, aim="1")) == 1.0
    assert aim_of(_row("a", 1.0)) is None

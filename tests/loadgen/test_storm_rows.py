"""The storm's numbers in words: each says how it was come by, and the baseline is beside them."""

from __future__ import annotations

import pytest

from loadgen.storm.formulas import Burden, Burdens, Crowd
from loadgen.storm.rows import result_of
from loadgen.storm.storm import Report, Side, Storm, StormBench


def _burdens(nodes: int) -> Burdens:
    return Burdens(
        Burden(400.0, nodes), Burden(10.0 * nodes, nodes), Burden(80.0, nodes), needed=90.0
    )


def _storm(nodes: int, seen: int) -> Storm:
    return Storm(
        nodes=nodes,
        instances=20 * nodes,
        azs=("a",),
        crowd=Crowd(9.0, 9.0, 10.0, 1),
        streams=Side(0.1 * nodes, nodes, 0.05 * nodes, 400.0),
        broadcast=Side(0.2 * seen, seen, 0.1 * seen, 10.0 * nodes),
        polling=Side(0.01 * nodes, nodes, 0.005 * nodes, 80.0),
        amplification=4.2,
        document_bytes=10 * nodes,
        encode_s=0.1,
        polls_per_s=1_000.0,
        burdens=_burdens(nodes),
    )


@pytest.fixture
def report() -> Report:
    """Return two storms, the larger with a broadcast to some nodes alone, and one computed size."""
    storms = (_storm(500, 500), _storm(5_000, 100))
    return Report(StormBench(), storms, {1_000_000: _burdens(1_000_000)}, ("pools", "pools"))


def test_every_number_says_measured_or_computed(report: Report) -> None:
    """No metric is ambiguous, and none is there twice."""
    result = result_of(report)
    names = [row.metric for row in (*result.rows, *result.baseline)]
    for name in names:
        how = name.rpartition(", ")[2]
        assert how in {"measured", "computed", "computed / measured"} or "computed from" in how
    assert len(set(names)) == len(names)
    assert {"time, computed", "bytes a node, streams, computed"} <= set(result.settings)


def test_what_was_not_sent_to_all_is_told_so(report: Report) -> None:
    """The broadcast to a hundred of five thousand nodes takes fifty times as long for all."""
    found = {row.metric: row.value for row in result_of(report).baseline}
    assert found["broadcast, 500 nodes, all hold everything, measured"] == pytest.approx(100.0)
    of_some = "broadcast, 5,000 nodes, all hold everything, computed from 100 nodes"
    assert found[of_some] == pytest.approx(1_000.0)


def test_computed_sizes_follow_the_largest_measured_run(report: Report) -> None:
    """Two hundred times the nodes: streams and polling as many times, broadcast once more."""
    result = result_of(report)
    ours = {row.metric: row.value for row in result.rows}
    others = {row.metric: row.value for row in result.baseline}
    assert ours["1,000,000 nodes, all hold everything, computed"] == pytest.approx(500 * 200)
    assert others["polling, 1,000,000 nodes, all hold everything, computed"] == pytest.approx(
        10_000
    )
    broadcast = others["broadcast, 1,000,000 nodes, all hold everything, computed"]
    assert broadcast == pytest.approx(1_000 * 200 * 200)
    ratios = {row.metric: row.value for row in result.ratios}
    assert ratios["broadcast / streams, 1,000,000 nodes, time, computed"] == pytest.approx(400)
    assert ratios["polling / streams, 500 nodes, bytes"] == pytest.approx(0.2)


def test_published_times_are_the_aims_of_their_sizes(report: Report) -> None:
    """A storm of 10,000 instances is held against the minute that is published for as many."""
    aims = {row.metric: row.aim for row in result_of(report).rows}
    assert aims["500 nodes, all hold everything, measured"] == "<= 60"
    assert aims["5,000 nodes, all hold everything, measured"] == "<= 600"

"""A restart storm on a real cluster, tiny: every node comes back whole, on every side."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from loadgen.storm.restarts import Restarts
from loadgen.storm.rows import result_of
from loadgen.storm.storm import StormBench, storms
from southbound.errors import EdgeError

pytestmark = pytest.mark.live

_BENCH = StormBench(
    instances=(60,),
    vms_per_host=4,
    hosts_per_slot=5,
    clusters=1,
    processes=1,
    at_once=4,
    polls_s=0.1,
    sizes=(1_000,),
    timeout_s=60.0,
)


def test_all_nodes_come_back_whole_by_streams_broadcast_and_polling(tmp_path: Path) -> None:
    """Digests agree on all sides; who expects something else of the same log finds out."""
    with storms(_BENCH, tmp_path, lambda _line: None) as (report, redis_url):
        (storm,) = report.storms
        other = dataclasses.replace(_BENCH.shape(storm.nodes, storm.azs), rules=3)
        stranger = Restarts(redis_url, other, at_once=2)
        try:
            stranger.begin(30.0)
            assert len(stranger.restart(range(2))) == 2
            with pytest.raises(EdgeError, match="something else"):
                stranger.judge()
        finally:
            stranger.close()
    assert storm.nodes == 15
    assert storm.streams.seen == storm.broadcast.seen == storm.polling.seen == 15
    assert storm.amplification > 1
    assert 0 < storm.streams.p50_s <= storm.streams.seconds
    # What the formulas say of a fleet is what its nodes really read and received.
    assert storm.burdens.streams.each == pytest.approx(storm.streams.bytes_each, rel=0.5)
    assert storm.burdens.broadcast.each == pytest.approx(storm.document_bytes, rel=0.05)
    found = {row.metric for row in result_of(report).rows}
    assert {
        "15 nodes, all hold everything, measured",
        "1,000 nodes, bytes a node, computed",
    } <= found

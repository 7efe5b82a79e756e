"""The publishing benchmark on real clusters, small: it measures what it says."""

from __future__ import annotations

from southbound.bench.publish import PublishBench, run_publish
from southbound.bench.result import Row
from southbound.local.fleet import LocalFleet
from tests.live.directory_kit import kit_of, prepared_topology


def test_publishing_is_measured_beside_bare_clients(fleet: LocalFleet) -> None:
    """Each side's rate is there, ratios are those of the rates, every cluster takes part."""
    topology = prepared_topology(fleet)
    lines: list[str] = []
    with kit_of(fleet, topology, 14) as kit:
        directory = kit.directory()
        directory.put_topology(topology)
        bench = PublishBench(hosts=60, vpcs=2, rounds=2, pause_s=0.0, timeout_s=60.0)
        result = run_publish(directory, bench, progress=lines.append)
        hosts = [f"bench-host-{number:07d}" for number in range(bench.hosts)]
        pools = {placement.pool for placement in directory.hosts(hosts).values()}
    assert pools == {pool.id for pool in topology.pools_in("host")}
    assert all(row.value > 0 for row in (*result.rows, *result.baseline))
    ours = _rate(result.rows, 0)
    same, encoding, naive = (_rate(result.baseline, at) for at in (0, 2, 3))
    found = [row.value for row in result.ratios]
    assert found == [ours / same, ours / encoding, same / naive, ours / naive]
    assert result.settings["hosts"] == "60"
    assert any(line.startswith("round 2 of 2") for line in lines)


def _rate(rows: tuple[Row, ...], at: int) -> float:
    assert rows[at].unit.endswith("/s")
    return rows[at].value

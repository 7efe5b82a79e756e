"""Clocks that are wrong where something is judged by its age: what compaction has left of a changeset."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from southbound.edge.log_time import LogTime
from southbound.local.fleet import LocalFleet
from southbound.partitioning.placement import address_of
from southbound.partitioning.plan import Goal
from southbound.producer import publisher as publisher_module
from southbound.rebalance import copying
from southbound.resources import host_scope
from southbound.settings import TrackerSettings
from southbound.tracker.service import TrackerService
from southbound.wire.keys import scope_prefix
from tests.faults.compaction import QUICK, keys_in
from tests.faults.record import Cell
from tests.faults.stage import Stage, stage_on
from tests.faults.test_nodes import Skewed
from tests.live.conftest import FleetFactory
from tests.live.directory_kit import eventually
from tests.live.shards_kit import small_topology

_YEARS_S = 10 * 365.25 * 86_400.0


@pytest.fixture(scope="module")
def stage(module_fleet_factory: FleetFactory) -> Iterator[Stage]:
    """Two clusters that compact at once."""
    fleet: LocalFleet = module_fleet_factory(2, 1)
    with stage_on(fleet, small_topology(fleet, QUICK)) as made:
        yield made


@pytest.mark.parametrize("whose", ["publisher's", "executor's"])
@pytest.mark.parametrize("by_s", [_YEARS_S, -_YEARS_S], ids=["ahead", "behind"])
def test_what_compaction_has_left_of_a_changeset_is_moved(
    stage: Stage, cell: Cell, whose: str, by_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two resources of one changeset, one of which was published again and thinned away since."""
    part = "publisher" if whose == "publisher's" else "executor"
    words = f"{'+' if by_s > 0 else '-'}10 y, a changeset of which compaction has left a part"
    cell.is_about(
        part, "clock", words, holds="a move carries all that was accepted", promises=(1, 5)
    )
    # Compaction waits for nothing here, so what is young must be over sooner than usual, too.
    monkeypatch.setattr(copying, "YOUNG_US", 500_000)
    shards, host = stage.shards, stage.host_id("c1")
    if part == "publisher":
        monkeypatch.setattr(publisher_module, "time", Skewed(by_s))
    else:
        # Until a broker has told the time, an executor has no clock but its own.
        monkeypatch.setattr("southbound.edge.log_time.time", Skewed(by_s))
        assert abs(LogTime().now_us() / 1e6 - by_s - time.time()) < 60
    scope, publisher = host_scope(host), shards.publisher()

    def publish(id: str, *names: str) -> None:
        made = shards.history.next(id, scope, [("gateway", name) for name in names])
        shards.history.settle([(made, publisher.publish(made))])

    publish("set", "one", "two")
    publish("again", "one")
    here = address_of("host", host, shards.place(host), shards.topology)
    rolls = iter(range(1_000))

    def is_thin() -> bool:
        publish(f"roll-{next(rolls)}", "roll")
        return (
            sum(key.endswith(b"\x1fone") for key in keys_in(stage, here, scope_prefix(scope))) == 1
        )

    eventually(is_thin, within_s=60)
    time.sleep(1)
    shards.move(Goal(kind="hosts", what=(host,), to="c2"))
    assert shards.cluster_of(host) == "c2"
    shards.agent(host)
    shards.check()
    shards.stop(host)
    assert not shards.history.failures
    cell.count(operations=sum(shards.history.wanted({scope}).values()), faults=1)


@pytest.mark.parametrize("by_s", [_YEARS_S, -_YEARS_S], ids=["ahead", "behind"])
def test_a_tracker_forgets_by_the_logs_clock(
    stage: Stage, cell: Cell, by_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own is wrong, and then right: it keeps what every host has, over both jumps."""
    words = f"{'+' if by_s > 0 else '-'}10 y, and back"
    cell.is_about(
        "tracker", "clock", words, holds="nothing that was reported is forgotten", promises=(3,)
    )
    shards, host = stage.shards, stage.host_id("c1")
    settings = TrackerSettings(sweep_every_s=0.2, forgets_after_s=0.0)
    tracker = TrackerService(lambda: shards.topology, tmp_path, settings)
    for module in ("southbound.tracker.service.time", "southbound.edge.log_time.time"):
        monkeypatch.setattr(module, Skewed(by_s))
    tracker.start()
    shards.agent(host)
    try:
        with stage.traffic(host_scope(host)):
            eventually(lambda: _told(tracker, host) > 0)
        shards.check()
        wanted = dict(shards.history.wanted({host_scope(host)}))
        eventually(lambda: _told(tracker, host) == len(wanted), within_s=40)
        sweeps = _sweeps(tracker, monkeypatch)
        eventually(lambda: len(sweeps) > 3)
        monkeypatch.setattr("southbound.tracker.service.time", time)
        monkeypatch.setattr("southbound.edge.log_time.time", time)
        before = len(sweeps)
        eventually(lambda: len(sweeps) > before + 3)
        assert _told(tracker, host) == len(wanted)
        assert tracker.counters.hosts_forgotten == 0
        assert abs(sweeps[-1] / 1e6 - time.time()) < 60
    finally:
        shards.stop(host)
        tracker.close()
    cell.count(operations=sum(wanted.values()), faults=2)


def _told(tracker: TrackerService, host: str) -> int:
    """Return of how many of a host's resources a tracker knows."""
    reader = tracker.store.reader()
    try:
        return len(reader.standings(host))
    finally:
        reader.close()


def _sweeps(tracker: TrackerService, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the times of the sweeps that are to come, as they come."""
    found: list[int] = []
    real = tracker.sweep

    def sweep(now_us: int) -> None:
        found.append(now_us)
        real(now_us)

    monkeypatch.setattr(tracker, "sweep", sweep)
    return found

"""Clocks that are wrong where something is judged by its age: what compaction has left of a changeset."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from southbound.edge.log_time import LogTime
from southbound.local.fleet import LocalFleet
from southbound.partitioning.placement import address_of
from southbound.partitioning.plan import Goal
from southbound.producer import publisher as publisher_module
from southbound.rebalance import copying
from southbound.resources import host_scope
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

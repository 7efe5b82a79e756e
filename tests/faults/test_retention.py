"""An agent that was away for longer than deletes are kept."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from southbound.edge.kafka import new_producer
from southbound.local.fleet import LocalFleet
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.service import Agent
from southbound.partitioning.placement import address_of
from southbound.resources import Changeset, Op, Resource, host_scope
from southbound.settings import AgentSettings
from southbound.wire.keys import encode_key, scope_prefix
from tests.faults.compaction import QUICK, keys_in
from tests.faults.record import Cell
from tests.faults.stage import Stage, stage_on
from tests.live.conftest import FleetFactory
from tests.live.directory_kit import eventually
from tests.live.shards_kit import small_topology

_SETTINGS = AgentSettings(fetch_wait_ms=500, retention_of_deletes_s=6.0)


@pytest.fixture(scope="module")
def stage(module_fleet_factory: FleetFactory) -> Iterator[Stage]:
    """Two clusters that compact at once, and forget deletes after a second."""
    fleet: LocalFleet = module_fleet_factory(2, 1)
    with stage_on(fleet, small_topology(fleet, QUICK)) as made:
        yield made


def test_a_delete_of_which_nothing_is_left(stage: Stage, cell: Cell) -> None:
    """The log does not speak of the resource any more: only its absence tells."""
    cell.is_about(
        "agent",
        "retention",
        "away until a delete, its null and all before them are gone from the log",
        holds="it reads a snapshot, and ends without the resource and with all the others",
        promises=(1, 4),
    )
    host = stage.host_id("c1")
    scope, publisher = host_scope(host), stage.busy[0]
    node = MemoryApplier()

    def publish(id: str, *resources: Resource) -> None:
        publisher.publish(Changeset(f"{host}-{id}", resources)).accepted.result(30)

    def agent() -> Agent:
        made = Agent(
            host=host,
            state_dir=stage.path / f"{host}-state",
            applier=node,
            redis_url=stage.redis_url,
            settings=_SETTINGS,
        )
        made.start()
        return made

    goes = Resource(scope, "gateway", "goes", 1, {"n": 1})
    stays = Resource(scope, "gateway", "stays", 1, {"n": 1})
    publish("first", goes, stays)
    first = agent()
    eventually(lambda: {goes.key, stays.key} <= node.resources.keys())
    first.stop()
    publish("delete", Resource(scope, "gateway", "goes", 2, op=Op.DELETE))
    here = address_of("host", host, stage.shards.place(host), stage.shards.topology)
    producer = new_producer(stage.shards.topology.cluster(here.cluster), "null")
    producer.produce(here.topic, None, encode_key(goes.key), partition=here.partition)
    producer.flush(10)
    rolls = iter(range(2, 10_000))

    def is_gone() -> bool:
        publish(f"roll-{(number := next(rolls))}", Resource(scope, "router", "roll", number, {}))
        return encode_key(goes.key) not in keys_in(stage, here, scope_prefix(scope))

    began_s = time.monotonic()
    eventually(is_gone, within_s=90)
    time.sleep(max(0.0, began_s + 2 * _SETTINGS.retention_of_deletes_s / 3 - time.monotonic()))
    second = agent()
    try:
        eventually(lambda: goes.key not in node.resources)
        eventually(lambda: second.status().ready)
        assert stays.key in node.resources
        assert second.counters.resyncs == {"absence": 1}
    finally:
        second.stop()
    cell.count(operations=next(rolls), faults=1)

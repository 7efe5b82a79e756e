"""The link between everybody and a cluster: delayed, throttled, cut one way, reset, refused."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from southbound.edge.admin import apply_topics
from southbound.local.fleet import LocalFleet
from southbound.local.ports import LOOPBACK
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from tests.faults.proxy import Proxy
from tests.faults.record import Cell
from tests.faults.servers import broker_of, kafka_program, redis_of, start_redis
from tests.faults.stage import HOLDS, Stage
from tests.live.directory_kit import DirectoryKit, kit_of


class Site:
    """A broker that nobody reaches but through a proxy, a Redis, and a topology of small pools."""

    def __init__(self, kit: DirectoryKit, topology: Topology, proxy: Proxy) -> None:
        self.kit = kit
        self.topology = topology
        self.proxy = proxy


@pytest.fixture(scope="module")
def site(run_dir: Path) -> Iterator[Site]:
    """Start everything once for this file."""
    folder = Path(tempfile.mkdtemp(dir=run_dir, prefix="servers-"))
    plain, redis = broker_of(folder, "c1", {}), redis_of(folder)
    with Proxy(plain.port) as proxy:
        advertised = (
            f"BROKER://{LOOPBACK}:{proxy.port},CONTROLLER://{LOOPBACK}:{plain.controller_port}"
        )
        overrides = {**plain.settings.overrides, "advertised.listeners": advertised}
        broker = replace(plain, settings=replace(plain.settings, overrides=overrides))
        start_redis(redis)
        broker.start(kafka_program())
        broker.wait_ready()
        topology = _topology(
            Cluster(
                id="c1",
                az="az-a",
                bootstrap=(f"{LOOPBACK}:{proxy.port}",),
                kafka_id=broker.kafka_id,
            )
        )
        apply_topics(topology)
        try:
            with kit_of(cast(LocalFleet, None), topology, 0, redis.url) as kit:
                kit.directory().put_topology(topology)
                yield Site(kit, topology, proxy)
        finally:
            proxy.heal()
            broker.daemon.stop(20)
            redis.daemon.stop(5)


def _topology(cluster: Cluster) -> Topology:
    return Topology(
        region="test",
        azs=(Az(id="az-a", journal="c1"),),
        clusters=(cluster,),
        pools=(
            Pool(id="c1-h", cluster="c1", cls="host", topics=1, partitions=4, max_per_slot=200),
            Pool(id="c1-v", cluster="c1", cls="vpc", topics=1, partitions=4, max_per_slot=60),
        ),
    )


@pytest.fixture
def stage(site: Site, tmp_path: Path) -> Iterator[Stage]:
    """Publishers and agents of a test's own."""
    made = Stage(site.kit, site.topology, tmp_path)
    yield made
    made.close()


def _delayed(proxy: Proxy) -> None:
    proxy.delay_s = 0.1
    time.sleep(5)


def _throttled(proxy: Proxy) -> None:
    proxy.bytes_per_s = 20_000
    time.sleep(5)


def _deaf(proxy: Proxy) -> None:
    proxy.cut = frozenset({"up"})
    time.sleep(5)


def _mute(proxy: Proxy) -> None:
    proxy.cut = frozenset({"down"})
    time.sleep(5)


def _reset(proxy: Proxy) -> None:
    for _ in range(15):
        proxy.reset()
        time.sleep(0.2)


def _away(proxy: Proxy) -> None:
    proxy.refuses = True
    proxy.reset()
    time.sleep(5)


@pytest.mark.parametrize(
    ("name", "fault", "words"),
    [
        ("delay", _delayed, "100 ms each way, 5 s"),
        ("throttle", _throttled, "20 kB/s for each connection, 5 s"),
        ("cut", _deaf, "nothing reaches the broker, 5 s"),
        pytest.param("cut", _mute, "no answer comes back, 5 s", marks=pytest.mark.subset),
        ("reset", _reset, "every connection reset, 15 times"),
        ("refuse", _away, "every connection reset, and refused, 5 s"),
    ],
)
def test_a_link(
    site: Site, stage: Stage, cell: Cell, name: str, fault: Callable[[Proxy], None], words: str
) -> None:
    """Between all clients and their cluster, under traffic."""
    cell.is_about("link", name, words, holds=HOLDS, promises=(1, 2))

    def happen() -> None:
        try:
            fault(site.proxy)
        finally:
            site.proxy.heal()

    stage.play(cell, "c1", happen)

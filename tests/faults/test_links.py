"""The link between everybody and a cluster: delayed, throttled, cut one way, reset, refused."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from southbound.edge.admin import apply_topics
from southbound.local.fleet import LocalFleet
from southbound.local.ports import LOOPBACK
from southbound.nca.parts import AgentParts, directory_client
from southbound.nca.service import Agent
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.resources import host_scope
from southbound.settings import AgentSettings, DirectorySettings
from tests.faults.proxy import Proxy
from tests.faults.record import Cell
from tests.faults.servers import broker_of, kafka_program, redis_of, start_redis
from tests.faults.stage import HOLDS, Stage
from tests.live.directory_kit import DirectoryKit, eventually, kit_of
from tests.live.shards_kit import Node


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


@pytest.mark.timeout(240)
def test_a_crowd_comes_back(site: Site, stage: Stage, cell: Cell) -> None:
    """Every agent of a cluster loses its connection at the same moment, and may not come back yet."""
    count = 150
    cell.is_about(
        "link",
        "crowd",
        f"{count} agents cut off at once for 3 s",
        holds="all come back by themselves, spread out; none is wrong",
        promises=(1, 2, 4),
    )
    shards = stage.shards
    hosts = [stage.host_id() for _ in range(count)]
    parts = AgentParts.make(
        lambda: directory_client(DirectorySettings(redis_url=stage.redis_url, visitor=True))
    )
    settings = AgentSettings(fetch_wait_ms=2_000, poll_s=0.5)
    nodes = {host: Node(host) for host in hosts}
    agents = [
        Agent.sharing(
            parts, host=host, state_dir=stage.path / host, applier=nodes[host], settings=settings
        )
        for host in hosts
    ]
    try:
        for agent in agents:
            agent.start()
        eventually(lambda: all(agent.status().ready for agent in agents), within_s=60)
        site.proxy.taken_s.clear()
        site.proxy.refuses = True
        site.proxy.reset()
        time.sleep(3)
        site.proxy.heal()
        began_s = time.monotonic()
        _publish_to_all(stage, hosts)
        wanted = {host: shards.history.wanted({host_scope(host)}) for host in hosts}
        eventually(
            lambda: all(nodes[host].state == wanted[host] for host in hosts),
            within_s=90,
            saying=lambda: sum(nodes[host].state != wanted[host] for host in hosts),
        )
        back_s = time.monotonic() - began_s
    finally:
        site.proxy.heal()
        with ThreadPoolExecutor(32) as threads:
            list(threads.map(lambda agent: agent.stop(), agents))
        parts.close()
    assert not [fault for node in nodes.values() for fault in node.faults]
    taken_s = site.proxy.taken_s
    peak = max(Counter(int(at_s * 10) for at_s in taken_s).values())
    cell.count(operations=count, faults=1, agents=count, connections=len(taken_s))
    cell.count(peak_connections_per_100_ms=peak, all_have_it_after_s=round(back_s, 2))
    # At once would be all of them in one tenth of a second.
    assert peak < 2 * count


def _publish_to_all(stage: Stage, hosts: list[str]) -> None:
    history = stage.shards.history
    made = [history.next(f"crowd-{host}", host_scope(host), [("gateway", "one")]) for host in hosts]
    history.settle([(one, stage.busy[0].publish(one)) for one in made])
    assert not history.failures

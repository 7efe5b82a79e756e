"""Thousands of agents of one cluster that lose it at the same moment, and come back.

All of them are the product's own, with consumers of their own, on one real broker behind a gate that
writes down every try to connect. `--crowd N` says how many there are.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import pytest
import redis

from southbound.edge.admin import apply_topics
from southbound.errors import OutcomeUnknown
from southbound.local.broker import Broker
from southbound.local.fleet import LocalFleet
from southbound.local.ports import LOOPBACK, answers
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.producer import Publisher, Receipt
from southbound.resources import Changeset, Resource, host_scope
from southbound.settings import PublisherSettings
from tests.faults.crowd import Crowd, Standing
from tests.faults.record import Cell
from tests.faults.servers import broker_of, kafka_program, redis_of, start_redis
from tests.faults.tries import Try, by_name, firsts, intervals_s, peak, quantile, spread_s
from tests.faults.turnstile import Turnstile
from tests.live.directory_kit import DirectoryKit, eventually, kit_of

HOLDS = (
    "all come back by themselves and have all that was accepted; nothing falls, nothing is taken "
    "down; tries to connect are spread out, and nobody asks the directory"
)
_EACH = 250
_A_SLOT = 10
_TOPIC_PARTITIONS = 50
_CONNECTIONS = 3
"""Of an agent, at most: to the broker, to it as coordinator of a group, and one more in passing."""

_AWAY_S = 10.0
_SAMPLE_S, _LOOK_S = 0.1, 0.5
_START_S = 300.0
_BACK_S = 150.0
_AT_ONCE = 2
"""So many tries of each agent the client library makes at once: one for each connection lost."""

_TENTH_S = 0.1
_TRIES_A_SECOND = 5.0
_SHARE_TRYING = 0.5
_SHARE_BACK = 0.25


class Site:
    """A broker that nobody reaches but through a gate, a Redis, and hosts enough."""

    def __init__(self, kit: DirectoryKit, broker: Broker, gate: Turnstile, count: int) -> None:
        self.kit = kit
        self.broker = broker
        self.gate = gate
        self.hosts = [f"crowd-{number:05d}" for number in range(count)]
        self.revision = 0


@pytest.fixture(scope="module")
def site(run_dir: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Start the servers once for this file."""
    count: int = request.config.getoption("--crowd")
    folder = Path(tempfile.mkdtemp(dir=run_dir, prefix="servers-"))
    plain, server = broker_of(folder, "c1", {}), redis_of(folder)
    gate = Turnstile(plain.port, _CONNECTIONS * count)
    broker = _behind(plain, gate.port, heap_mib=512 + count // 4)
    try:
        start_redis(server)
        broker.start(kafka_program())
        broker.wait_ready()
        topology = _topology(broker, gate.port, count)
        apply_topics(topology)
        with kit_of(cast(LocalFleet, None), topology, 0, server.url) as kit:
            kit.directory().put_topology(topology)
            made = Site(kit, broker, gate, count)
            kit.directory().register_hosts(dict.fromkeys(made.hosts, "az-a"))
            yield made
    finally:
        gate.close()
        broker.daemon.stop(20)
        server.daemon.stop(5)


def _behind(plain: Broker, port: int, heap_mib: int) -> Broker:
    """Return a broker that tells clients to come by another port."""
    listeners = f"BROKER://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{plain.controller_port}"
    overrides = {
        **plain.settings.overrides,
        "advertised.listeners": listeners,
        "socket.listen.backlog.size": "4096",
    }
    return replace(plain, settings=replace(plain.settings, overrides=overrides, heap_mib=heap_mib))


def _topology(broker: Broker, port: int, count: int) -> Topology:
    topics = max(count // (_A_SLOT * _TOPIC_PARTITIONS), 1)
    cluster = Cluster(
        id="c1", az="az-a", bootstrap=(f"{LOOPBACK}:{port}",), kafka_id=broker.kafka_id
    )
    pools = (
        Pool(
            id="c1-h",
            cluster="c1",
            cls="host",
            topics=topics,
            partitions=_TOPIC_PARTITIONS,
            max_per_slot=2 * _A_SLOT,
        ),
        Pool(id="c1-v", cluster="c1", cls="vpc", topics=1, partitions=1, max_per_slot=10),
    )
    return Topology(
        region="test", azs=(Az(id="az-a", journal="c1"),), clusters=(cluster,), pools=pools
    )


@pytest.fixture(scope="module")
def publisher(site: Site) -> Iterator[Publisher]:
    """Who publishes to all of them."""
    with Publisher(site.kit.directory(), PublisherSettings(validate_specs=False)) as made:
        yield made


@pytest.fixture(scope="module")
def crowd(site: Site, publisher: Publisher) -> Iterator[Crowd]:
    """All agents, at work: each has what was published first."""
    with tempfile.TemporaryDirectory(prefix="crowd-") as folder:
        made = Crowd(site.kit.redis_url, Path(folder), site.hosts, _EACH)
        try:
            made.start()
            _publish(site, publisher, made)
            _wait(made, within_s=_START_S)
            yield made
        finally:
            made.close()


def _publish(site: Site, publisher: Publisher, crowd: Crowd) -> None:
    """Publish to every host, again where the outcome is unknown; from then on all of it is wanted."""
    site.revision += 1
    end_s = time.monotonic() + _BACK_S
    waiting: Sequence[str] = site.hosts
    while waiting:
        assert time.monotonic() < end_s, f"{len(waiting)} changes were not accepted"
        sent = {host: publisher.publish(_change(host, site.revision)) for host in waiting}
        waiting = [host for host, receipt in sent.items() if not _is_accepted(receipt)]
    crowd.want("gateway", "one", dict.fromkeys(site.hosts, site.revision))


def _change(host: str, revision: int) -> Changeset:
    resource = Resource(host_scope(host), "gateway", "one", revision, {})
    return Changeset(f"to-{host}-{revision}", (resource,))


def _is_accepted(receipt: Receipt) -> bool:
    try:
        receipt.accepted.result(_BACK_S)
    except OutcomeUnknown:
        return False
    return True


def _wait(crowd: Crowd, within_s: float) -> list[Standing]:
    """Wait until every agent is ready and has all that is wanted."""
    end_s = time.monotonic() + within_s
    while True:
        standing = crowd.standing()
        lacking = sum(one.lacking for one in standing)
        waited_for = sum(one.agents - one.ready for one in standing)
        if not lacking and not waited_for:
            return standing
        names = [name for one in standing for name in one.names]
        assert time.monotonic() < end_s, f"{lacking} lack something, {waited_for} wait: {names}"
        time.sleep(_LOOK_S)


class Watch:
    """Looks how many connections a Redis has, ten times a second, by one of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.connected: list[int] = []
        self.received: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _look(self) -> None:
        with redis.Redis.from_url(self._url) as client:
            while not self._ending.wait(_SAMPLE_S):
                told: dict[str, Any] = client.info()
                self.connected.append(told["connected_clients"] - 1)
                self.received.append(told["total_connections_received"])

    @property
    def seen(self) -> dict[str, float]:
        """Return what it has seen, but for itself."""
        return {
            "redis_connections_before": self.connected[0],
            "redis_connections_peak": max(self.connected),
            "redis_connections_new": self.received[-1] - self.received[0],
        }


def _cut(site: Site) -> tuple[float, float]:
    """Reset every connection, and whatever comes for some seconds."""
    # Every connection is broken when this returns.
    site.gate.refuse()
    cut_s = time.monotonic()
    time.sleep(_AWAY_S)
    site.gate.heal()
    return cut_s, time.monotonic()


def _kill(site: Site) -> tuple[float, float]:
    """Kill the broker and start it again; it has healed when its port is open."""
    # It is gone, with its connections, when this returns: with thousands that takes a second.
    site.broker.daemon.kill()
    eventually(lambda: not answers(site.broker.port), within_s=60)
    cut_s = time.monotonic()
    site.broker.start(kafka_program())
    eventually(lambda: answers(site.broker.port), within_s=300)
    return cut_s, time.monotonic()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("part", "fault", "words"),
    [
        ("link", _cut, f"every connection reset, and refused for {_AWAY_S:g} s"),
        ("broker", _kill, "SIGKILL of the only broker, and its restart"),
    ],
    ids=["link", "broker"],
)
def test_a_crowd_comes_back(
    site: Site,
    crowd: Crowd,
    publisher: Publisher,
    cell: Cell,
    part: str,
    fault: Callable[[Site], tuple[float, float]],
    words: str,
) -> None:
    """Every agent of a cluster loses it at the same moment, and gets what is published afterwards."""
    count = len(site.hosts)
    cell.is_about(part, "crowd", f"{count} agents: {words}", holds=HOLDS, promises=(1, 2, 4))
    before = crowd.standing()
    site.gate.tries()
    with Watch(site.kit.redis_url) as watch:
        cut_s, healed_s = fault(site)
        _publish(site, publisher, crowd)
        after = _wait(crowd, within_s=_BACK_S)
        back_s = time.monotonic() - healed_s
    tries = [one for one in site.gate.tries() if one.name.startswith("agent-")]
    asked = sum(len(one.asked_s) for one in after) - sum(len(one.asked_s) for one in before)
    cell.count(operations=count, faults=1, agents=count, processes=len(crowd.pids))
    cell.count(threads=sum(one.threads for one in after), files=sum(one.files for one in after))
    cell.count(rss_mib=sum(one.rss for one in after) >> 20, asked_the_directory=asked)
    cell.count(away_s=round(healed_s - cut_s, 2), all_have_it_after_s=round(back_s, 2))
    cell.seen.update(watch.seen | _told(tries, healed_s))
    assert [fault for one in after for fault in one.faults] == []
    _judge(cell.seen, count)


def _told(tries: Sequence[Try], healed_s: float) -> dict[str, float]:
    """Return what is to be told of the tries: while there was no way, and afterwards."""
    waiting = [one for one in tries if one.at_s < healed_s]
    back = [one for one in tries if one.at_s >= healed_s]
    at_once = [one.at_s for made in by_name(waiting).values() for one in made[:_AT_ONCE]]
    later = [one.at_s for made in by_name(waiting).values() for one in made[_AT_ONCE:]]
    after = [one.at_s for one in back]
    between = intervals_s(waiting)
    told: dict[str, float] = {
        "tries_at_once": len(at_once),
        "tries_at_once_100_ms": peak(at_once, _TENTH_S),
        "tries_later": len(later),
        "tries_later_100_ms": peak(later, _TENTH_S),
        "tries_later_1_s": peak(later, 1.0),
        "tries_after": len(after),
        "tries_after_100_ms": peak(after, _TENTH_S),
        "tries_after_1_s": peak(after, 1.0),
        "first_spread_s": spread_s(list(firsts(tries).values())),
        "first_after_spread_s": spread_s(list(firsts(back).values())),
        "interval_p5_s": quantile(between, 0.05),
        "interval_p50_s": quantile(between, 0.5),
        "interval_p95_s": quantile(between, 0.95),
    }
    return {name: round(value, 3) for name, value in told.items()}


def _judge(seen: Mapping[str, float], count: int) -> None:
    """The bounds: had they no jitter, all would try in the same tenth of a second, again and again.

    With a wait of their own, between a quarter of a second and a whole one, a tenth takes about a
    quarter of them while there is no way, and about a sixth of all tries when there is one again.
    """
    assert seen["tries_later_100_ms"] < _SHARE_TRYING * count
    assert seen["tries_later"] / seen["away_s"] < _TRIES_A_SECOND * count
    assert seen["tries_after_100_ms"] < _SHARE_BACK * seen["tries_after"]
    # A storm on the directory would come right behind: agents know where to go on.
    assert seen["asked_the_directory"] == 0
    assert seen["redis_connections_peak"] <= seen["redis_connections_before"] + 10

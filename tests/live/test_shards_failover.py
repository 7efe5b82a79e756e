"""Redis is replaced while streams move: what the old primary had acknowledged alone is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from southbound.directory.keys import HOST, text_of
from southbound.local.fleet import LocalFleet
from southbound.partitioning.placement import parse_placement
from southbound.partitioning.plan import Goal
from southbound.partitioning.topology import Topology
from southbound.resources import host_scope, vpc_scope
from tests.live.conftest import FleetFactory
from tests.live.directory_kit import kit_of
from tests.live.redis_pair import Door, RedisPair, redis_pair
from tests.live.shards_kit import Shards, small_topology

Unique = Callable[[str], str]


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> LocalFleet:
    """Two clusters in one zone."""
    return module_fleet_factory(2, 1)


@pytest.fixture(scope="module")
def topology(own: LocalFleet) -> Topology:
    """Small pools, two of each class in a cluster."""
    return small_topology(own)


@pytest.fixture
def pair(redis_folder: Path) -> Iterator[RedisPair]:
    """A primary, its replica, and the door through which everybody comes."""
    with redis_pair(redis_folder) as made:
        yield made


@pytest.fixture
def shards(
    own: LocalFleet, topology: Topology, pair: RedisPair, unique: Unique, tmp_path: Path
) -> Iterator[Shards]:
    """A test's own hosts, agents, publishers and executors, on its own Redis."""
    with kit_of(own, topology, 0, pair.front.url) as kit:
        kit.directory().put_topology(topology)
        made = Shards(kit, topology, unique, tmp_path)
        yield made
        made.close()


class Failover:
    """A failpoint: the replica is cut off before one step, and takes over behind another."""

    def __init__(self, pair: RedisPair, cut_at: str, over_at: str) -> None:
        self.pair = pair
        self.cut_at = cut_at
        self.over_at = over_at
        self.is_cut = self.is_over = False

    def __call__(self, name: str) -> None:
        """Take a step."""
        if name == self.cut_at and not self.is_cut:
            self.is_cut = True
            self.pair.wait_level()
            self.pair.link.cut()
        if name == self.over_at and not self.is_over:
            self.is_over = True
            self.pair.promote()
            self.pair.take_over()

    def lost(self, host: str) -> tuple[int, int]:
        """Return a host's epochs as the new primary has it, and as the old one had it."""
        text = text_of(HOST, host)
        rows = [self.pair.row(one, text) for one in (self.pair.primary, self.pair.replica)]
        new, old = (parse_placement(row or "") for row in rows)
        return new.epoch, old.epoch


_FAILOVERS = (
    ("Reserve:before", "AppendJournal:before"),
    ("AppendJournal:before", "AnnounceMoves:before"),
    ("AppendJournal:before", "Mark:after"),
    ("Precopy:before", "Seal:before"),
)


def test_a_replica_takes_over_in_the_midst_of_moves(shards: Shards, pair: RedisPair) -> None:
    """Reservations and flips that the old primary acknowledged are lost; the moves go on."""
    hosts = shards.hosts(3, "c1")
    for host in hosts:
        shards.agent(host)
    vpc = shards.unique("vpc")
    publisher = shards.publisher()
    for host in hosts:
        shards.join(publisher, host, vpc)
    lost = 0
    with shards.traffic([vpc_scope(vpc), *map(host_scope, hosts)]):
        for number, (cut_at, over_at) in enumerate(_FAILOVERS):
            to = ("c2", "c1")[number % 2]
            failover = Failover(pair, cut_at, over_at)

            def step(name: str, failover: Failover = failover) -> None:
                nonlocal lost
                failover(name)
                if name == failover.over_at and "Journal" not in name:
                    new, old = failover.lost(hosts[0])
                    lost += new < old

            shards.move(Goal(kind="hosts", what=tuple(hosts), to=to), failpoint=step)
            assert failover.is_over
            assert {shards.cluster_of(host) for host in hosts} == {to}
            pair.rejoin()
    # Else the failovers were none: everybody has gone over to what had been lost and is back.
    assert lost > 0
    shards.check()
    assert shards.directory.verify() == []


def test_an_isolated_primary_goes_on_answering(shards: Shards, pair: RedisPair) -> None:
    """A publisher, agents and a registrar stay with yesterday's primary while streams move."""
    hosts = shards.hosts(3, "c1")
    late, *running = hosts
    vpc = shards.unique("vpc")
    isolated = Door(pair.primary.port)
    shards.join(shards.publisher(), running[0], vpc)
    for host in running:
        shards.agent(host, redis_url=isolated.url)
    behind = shards.publisher(redis_url=isolated.url)
    scopes = [vpc_scope(vpc), *map(host_scope, hosts)]
    with shards.traffic(scopes, [behind, shards.publisher()]):
        pair.promote()
        pair.take_over()
        shards.move(Goal(kind="hosts", what=tuple(hosts), to="c2"))
        # It begins where the old primary says, and is led on from there.
        shards.agent(late, redis_url=isolated.url)
        shards.join(behind, late, vpc)
        shards.move(Goal(kind="hosts", what=(running[0],), to="c2-i"))
        (new,) = shards.kit.directory(redis_url=isolated.url).register_hosts(
            {shards.unique("host"): "az-a"}
        )
        shards.move(Goal(kind="hosts", what=(late, new), to="c1-i"))
        shards.agent(new)
        isolated.lead_to(pair.primary.port)
        shards.move(Goal(kind="hosts", what=tuple(hosts), to="c1-h"))
    shards.check()
    assert shards.directory.verify() == []
    isolated.close()

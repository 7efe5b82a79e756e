"""Journals that have lost something: what is said of them, and what Redis alone knows then."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import pytest
from typer.testing import CliRunner, Result

from southbound.cli.main import app
from southbound.directory import Directory
from southbound.edge.append import Appender
from southbound.errors import EdgeError
from southbound.local.fleet import LocalFleet
from southbound.partitioning.placement import Placement
from southbound.partitioning.topology import DIRECTORY_TOPIC, Topology
from southbound.resources import host_scope
from southbound.wire.control import JournalEntry, encode_control
from tests.live.conftest import FleetFactory
from tests.live.directory_kit import DirectoryKit, kit_of, prepared_topology
from tests.live.topic_kit import Topic

Unique = Callable[[str], str]
Known = tuple[dict[str, Placement], Mapping[str, dict[str, str]]]


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> LocalFleet:
    """One cluster."""
    return module_fleet_factory(1, 1)


@pytest.fixture(scope="module")
def topology(own: LocalFleet) -> Topology:
    """Its topology."""
    return prepared_topology(own)


@pytest.fixture
def journal(topology: Topology) -> Topic:
    """The journal, which is empty and whole."""
    made = Topic(topology, "c1", DIRECTORY_TOPIC)
    made.make_anew()
    return made


@pytest.fixture
def kit(own: LocalFleet, topology: Topology, journal: Topic) -> Iterator[DirectoryKit]:
    """An empty Redis over the journal, with the topology in both."""
    del journal
    with kit_of(own, topology, 0) as made:
        made.directory().put_topology(topology)
        yield made


def registered(kit: DirectoryKit, unique: Unique) -> Known:
    """Register hosts, a VPC and a public resource; return where the hosts are, and all rows."""
    directory = kit.directory()
    placed = directory.register_hosts({unique("host"): "az-a" for _ in range(20)})
    directory.ensure_vpcs({unique("vpc"): "c1"})
    directory.place_publics("elb", [unique("elb")])
    return placed, kit.rows()


def lose(how: str, journal: Topic, kit: DirectoryKit, unique: Unique) -> None:
    """Let the journal lose what it holds; `longer`: it grows beyond what it was, by somebody's entries."""
    if how == "cut":
        journal.cut(0)
        return
    journal.make_anew()
    if how == "longer":
        appender = Appender(kit.topology.cluster("c1"), DIRECTORY_TOPIC, "hand", timeout_s=15)
        entry = encode_control(JournalEntry(1, "c1-host:0:1:0", "hand", 1))
        appender.append([(f"h\x1f{unique('new')}".encode(), entry) for _ in range(40)])
        appender.close()


def run(kit: DirectoryKit, *words: str) -> Result:
    """Run a command against the kit's Redis."""
    return CliRunner().invoke(app, ["--redis", kit.redis_url, "directory", *words])


@pytest.mark.parametrize("how", ["cut", "shorter", "longer"])
def test_what_redis_alone_knows_is_named_and_kept(
    kit: DirectoryKit, journal: Topic, unique: Unique, how: str
) -> None:
    """Verify names journal and rows; a rebuild refuses, or writes them into the journal first."""
    placed, rows = registered(kit, unique)
    lose(how, journal, kit, unique)
    said = run(kit, "verify", "--output", "json")
    assert said.exit_code == 1, said.output
    found = json.loads(said.stdout)
    assert {one["place"] for one in found if one["kind"] == "alone"} >= {f"h:{h}" for h in placed}
    assert [one["place"] for one in found if one["kind"] == "journal"] == (
        [] if how == "longer" else ["az-a"]
    )
    assert "rebuild --keep" in said.stderr
    before = kit.rows()
    refused = run(kit, "rebuild")
    assert (refused.exit_code, "--keep" in refused.stderr) == (EdgeError.exit_code, True)
    assert "rows stand in Redis alone" in refused.stderr
    assert kit.rows() == before
    done = run(kit, "rebuild", "--keep")
    assert done.exit_code == 0, done.output
    now = kit.rows()
    assert all(now[name].items() >= bucket.items() for name, bucket in rows.items())
    assert kit.directory().hosts(placed) == placed
    assert {one.kind for one in kit.directory().verify()} <= {"journal"}
    is_registered(kit.directory(), unique)


def is_registered(directory: Directory, unique: Unique) -> None:
    """Make sure that newcomers get their places again."""
    host = unique("host")
    directory.register_hosts({host: "az-a"})
    assert host_scope(host) in directory.rows([host_scope(host)])


def test_what_redis_alone_knows_goes_when_somebody_says_so(
    kit: DirectoryKit, journal: Topic, unique: Unique
) -> None:
    """Of a journal made anew nothing is left then, and it is whole; both options at once are a mistake."""
    placed, _ = registered(kit, unique)
    lose("shorter", journal, kit, unique)
    assert run(kit, "rebuild", "--keep", "--drop").exit_code == 2
    assert run(kit, "rebuild", "--drop").exit_code == 0
    directory = kit.directory()
    assert (directory.hosts(placed), directory.verify()) == ({}, [])
    is_registered(directory, unique)


def test_a_cut_journal_that_redis_has_forgotten_too_makes_nobody_unknown(
    kit: DirectoryKit, journal: Topic, unique: Unique
) -> None:
    """Whether a host exists cannot be told then: it is not given another place; the reason is named."""
    placed, _ = registered(kit, unique)
    lose("cut", journal, kit, unique)
    kit.redis.flushdb()
    directory = kit.directory()
    with pytest.raises(EdgeError, match="begins at offset"):
        directory.hosts(placed)
    with pytest.raises(EdgeError, match="begins at offset"):
        directory.register_hosts(dict.fromkeys(placed, "az-a"))
    (lost,) = directory.verify()
    assert (lost.kind, lost.place, "begins at offset" in lost.journal) == ("journal", "az-a", True)

"""Logs whose ends are lost with all copies, and which have grown again beyond where readers stood.

An offset alone tells nothing then: whoever reads on at it passes over the new records before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from southbound.directory.journal import Journal
from southbound.directory.moves import MovesLog, MovesTail
from southbound.directory.verdict import Held
from southbound.edge.admin import apply_topics
from southbound.edge.append import Appender
from southbound.edge.tail import ForeignLog, RangeReader
from southbound.errors import EdgeError
from southbound.janitor.books import Books
from southbound.janitor.ledgers import Ledgers, Manner
from southbound.janitor.tally import Tally
from southbound.local.broker import Broker
from southbound.partitioning.topology import (
    DIRECTORY_TOPIC,
    INTEREST_TOPIC,
    MOVES_TOPIC,
    STATUS_TOPIC,
    Az,
    Cluster,
    Topology,
)
from southbound.resources import ResourceKey, host_scope
from southbound.settings import DirectorySettings
from southbound.tracker.service import TrackerService
from southbound.wire.keys import encode_key, scope_text
from southbound.wire.reports import Outcome, Report, ReportEntry, encode_report, interest_key
from tests.faults.servers import broker_of, kafka_program
from tests.live.directory_kit import eventually

_WITHIN_S = 10.0
_BEFORE, _SINCE = 5, 8
_SETTINGS = DirectorySettings(redis_url="redis://127.0.0.1:1", journal_timeout_s=_WITHIN_S)


class Site:
    """One cluster of one broker, and the topics that are everybody's."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.cluster = Cluster(
            id="c1",
            az="az-a",
            bootstrap=(broker.bootstrap,),
            kafka_id=broker.kafka_id,
            status_partitions=1,
            interest_partitions=1,
        )
        self.topology = Topology(
            region="test", azs=(Az(id="az-a", journal="c1"),), clusters=(self.cluster,), pools=()
        )

    def start(self) -> None:
        """Start the broker, and wait until it leads what it holds."""
        self._broker.start(kafka_program())
        self._broker.wait_ready()

    def cut(self, *topics: str) -> None:
        """Lose all that topics hold, as a power loss of all copies would, and come back."""
        self._broker.daemon.kill()
        for topic in topics:
            for segment in (self._broker.data_dir / f"{topic}-0").glob("0*"):
                segment.unlink()
        self.start()

    def append(self, topic: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Append to a topic's only partition."""
        with closing(Appender(self.cluster, topic, "hand", timeout_s=_WITHIN_S)) as appender:
            appender.append(records)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a site at work."""
    broker = broker_of(tmp_path_factory.mktemp("cut"), "c1", {})
    made = Site(broker)
    try:
        made.start()
        apply_topics(made.topology)
        yield made
    finally:
        broker.daemon.kill()


def _tell(site: Site, hosts: Sequence[str]) -> None:
    """Let hosts report, and follow a VPC."""
    reports = []
    for host in hosts:
        key = encode_key(ResourceKey(host_scope(host), "port", "p"))
        entry = ReportEntry("c", key, 1, Outcome.APPLIED, 1)
        reports.append((host.encode(), encode_report(Report(host, 1, (entry,)))))
    site.append(STATUS_TOPIC, reports)
    site.append(INTEREST_TOPIC, [(interest_key("v", host), b"") for host in hosts])


def _knows(tracker: TrackerService, hosts: Sequence[str]) -> bool:
    with closing(tracker.store.reader()) as reader:
        told = all(reader.standings(host) for host in hosts)
        return told and set(hosts) <= set(reader.followers("v"))


def test_a_tracker_reads_anew_what_was_cut_while_it_was_off(site: Site, tmp_path: Path) -> None:
    """It misses no report of those below its position, and forgets who followed before."""
    before = [f"a{number}" for number in range(_BEFORE)]
    since = [f"b{number}" for number in range(_SINCE)]
    with closing(TrackerService(lambda: site.topology, tmp_path)) as tracker:
        tracker.start()
        _tell(site, before)
        eventually(lambda: _knows(tracker, before), within_s=_WITHIN_S)
        assert tracker.counters.gaps == 0
    with closing(TrackerService(lambda: site.topology, tmp_path)) as tracker:
        tracker.start()
        eventually(lambda: tracker.status().ready, within_s=_WITHIN_S)
        assert tracker.counters.gaps == 0
    site.cut(STATUS_TOPIC, INTEREST_TOPIC)
    _tell(site, since)
    with closing(TrackerService(lambda: site.topology, tmp_path)) as tracker:
        tracker.start()
        eventually(lambda: _knows(tracker, since), within_s=_WITHIN_S)
        assert tracker.counters.gaps == 2
        with closing(tracker.store.reader()) as reader:
            assert sorted(reader.followers("v")) == since


def _write(site: Site, letter: str, count: int) -> None:
    """Write entries to the log of moves and to the journal."""
    held = [(host_scope(f"{letter}{number}"), "hosts:0:1:0") for number in range(count)]
    with closing(MovesLog(site.cluster, client_id="hand", timeout_s=_WITHIN_S)) as moves:
        moves.append_all([(scope, 1, row) for scope, row in held])
    journal = Journal("az-a", site.cluster, _SETTINGS)
    journal.append([(scope_text(scope), Held(1, row)) for scope, row in held])
    journal.rest()


def _janitor(books: Books) -> Ledgers:
    return Ledgers(books, Tally(), Manner(_SETTINGS, dry_run=False))


def test_ledgers_that_were_cut_are_not_read_on(site: Site, tmp_path: Path) -> None:
    """Neither by who was off nor by who stayed: each says that what it had read is lost."""
    _write(site, "a", _BEFORE)
    with closing(Books(tmp_path / "books")) as books:
        books.open()
        with closing(_janitor(books)) as janitor:
            assert janitor.sync(site.topology) == []
            janitor.moves(site.cluster).take_over()
    reader = RangeReader(site.cluster, MOVES_TOPIC, "look")
    assert len(reader.read(0, _BEFORE, _WITHIN_S)) == _BEFORE
    # It lets go of its client, as whoever is idle does, and remembers.
    reader.close()
    with closing(MovesTail(site.cluster, client_id="fence")) as tail, closing(reader):
        tail.start()
        tail.look(_WITHIN_S)
        site.cut(MOVES_TOPIC, DIRECTORY_TOPIC)
        _write(site, "b", _SINCE)
        for _ in range(2):
            with pytest.raises(ForeignLog, match="has lost what was read"):
                reader.read(_BEFORE, _SINCE, _WITHIN_S)
        assert len(reader.read(0, _SINCE, _WITHIN_S)) == _SINCE
        _look_until_refused(tail)
    with closing(Books(tmp_path / "books")) as books:
        books.open()
        with closing(_janitor(books)) as janitor:
            for _ in range(2):
                (found,) = janitor.sync(site.topology)
                assert "has lost what was read" in str(found)
                with pytest.raises(ForeignLog, match="has lost what was read"):
                    janitor.moves(site.cluster).take_over()


def _look_until_refused(tail: MovesTail) -> None:
    found: list[EdgeError] = []

    def is_refused() -> bool:
        try:
            tail.look(_WITHIN_S)
        except EdgeError as error:
            found.append(error)
            return not error.retryable
        return False

    eventually(is_refused, within_s=_WITHIN_S)
    assert "has lost what was read" in str(found[-1])

"""The service without clusters: what it forgets, counts, and how it refuses to lose a batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from southbound.edge.bookmarks import Bookmark
from southbound.errors import EdgeError
from southbound.partitioning.hashing import spread
from southbound.partitioning.topology import INTEREST_TOPIC, STATUS_TOPIC, Cluster
from southbound.resources import vpc_scope
from southbound.tracker.questions import Questions
from southbound.tracker.service import TrackerService, _Following
from southbound.tracker.store import Presence
from southbound.wire.reports import Report, encode_report
from tests.tracker.desk import (
    APPLIED,
    FAILED,
    NOWHERE,
    announcement,
    inventory,
    line,
    of_vpc,
    port,
    read,
    report,
    service,
)

_DAY_US = 86_400_000_000


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[TrackerService]:
    """Return a started service."""
    made = service(tmp_path)
    yield made
    made.close()


def test_it_is_live_and_ready_without_anything_to_follow(tracker: TrackerService) -> None:
    """And neither before its start nor after its end."""
    assert tracker.status().ready
    assert tracker.gauges().clusters_followed == 0


def test_what_a_report_names_is_committed_with_it(tracker: TrackerService) -> None:
    """A tracker that is killed then has read on, and would never hear of that changeset again."""
    for number in range(3):
        tracker.taken(read(report("h", line(port("h"), number + 1, changeset=f"c{number}"))))
        reader = tracker.store.reader()
        found = reader.heard(10)
        reader.close()
        assert len(found) == number + 1


def test_what_is_too_old_goes_and_is_counted(tracker: TrackerService) -> None:
    """Silent hosts with all they had, and changesets that nobody settled."""
    told = report("h", line(port("h"), 1, FAILED)), report("g", line(port("g"), 1))
    tracker.taken(read(*told))
    tracker.announce([announcement("open", ("h\x1fz", {port("z"): 1}), sent_us=1)])
    tracker.sweep(2_000_000)
    assert (tracker.gauges().hosts, tracker.gauges().unfinished) == (2, 1)
    tracker.sweep(8 * _DAY_US)
    assert tracker.gauges().hosts == 2, "whoever has just begun to listen forgets nobody"
    tracker._since_s -= tracker.settings.forgets_after_s
    tracker.sweep(8 * _DAY_US)
    gauges = tracker.gauges()
    assert (gauges.hosts, gauges.unfinished, gauges.changesets_open) == (0, 0, 0)
    assert tracker.counters.hosts_forgotten == 2
    assert tracker.counters.given_up == 1
    assert Questions(tracker).host("h") is None


def test_nothing_is_too_old_while_no_log_has_told_the_time(tracker: TrackerService) -> None:
    """The clock of this machine may be years ahead; what it says is no reason to forget."""
    tracker.announce([announcement("c", ("h\x1fh", {port("h"): 1}), sent_us=_DAY_US)])
    tracker.forget()
    assert tracker.is_open("c")
    record: Any = Taken(report("h"), 10 * _DAY_US)
    tracker.log_time.note(record)
    tracker.forget()
    assert not tracker.is_open("c")


def test_lines_are_counted_by_outcome_and_inventories_apart(tracker: TrackerService) -> None:
    """An inventory is no news, so its lines are nobody's applying."""
    tracker.taken(read(report("h", line(port("h"), 1), line(port("h", "q"), 1, FAILED))))
    tracker.taken(read(inventory("h", 9, line(port("h"), 1))))
    assert tracker.counters.entries == {"applied": 1, "failed": 1}
    assert (tracker.counters.reports, tracker.counters.inventories) == (2, 1)
    assert sum(tracker.counters.lag.counts) == 2


def test_how_long_hosts_took_is_observed_once_each(tracker: TrackerService) -> None:
    """Of announced changesets; what a restart hears again is not."""
    key = port("h")
    tracker.announce([announcement("c", ("h\x1fh", {key: 1}), sent_us=1_000_000)])
    tracker.taken(read(report("h", line(key, 1, APPLIED, at_us=1_400_000))))
    tracker.taken(read(report("h", line(key, 1, APPLIED, at_us=1_900_000))))
    assert sum(tracker.counters.convergence.counts) == 1
    assert tracker.counters.convergence.sum_s == pytest.approx(0.4)
    assert tracker.counters.settled == 1
    tracker.announce([announcement("again", ("h\x1fh", {key: 1}), sent_us=1_000_000)])
    assert sum(tracker.counters.convergence.counts) == 1


def test_a_batch_that_the_disk_refuses_is_not_taken(
    tracker: TrackerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feed gets the error and reads it again; nobody was told of anything."""
    batch = read(report("h", line(port("h"), 1)))
    with tracker.store.transaction() as writing:
        writing._connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON hosts BEGIN SELECT raise(ABORT, 'disk full'); END"
        )
    with pytest.raises(EdgeError, match="disk full"):
        tracker.taken(batch)
    assert tracker.counters.write_failures == 1
    assert tracker.counters.reports == 0
    assert Questions(tracker).host("h") is None
    with tracker.store.transaction() as writing:
        writing._connection.execute("DROP TRIGGER full")
    tracker.taken(batch)
    assert Questions(tracker).host("h") is not None


def test_what_settled_while_the_disk_refused_is_written_later(tmp_path: Path) -> None:
    """The board lets go of nothing, and holds nothing for written, before that is committed."""
    tracker = TrackerService(lambda: NOWHERE, tmp_path)
    tracker.store.open()
    key, shared = port("h"), of_vpc("v", "vpc", "v")
    tracker.announce(
        [announcement("c", ("h\x1fh", {key: 1})), announcement("d", ("v\x1fv", {shared: 1}))]
    )
    tracker.accepted(["c", "d"])
    batch = read(report("h", line(key, 1)))
    with tracker.store.transaction() as writing:
        writing._connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON changesets BEGIN SELECT raise(ABORT, 'disk full'); END"
        )
    with pytest.raises(EdgeError, match="disk full"):
        tracker.taken(batch)
    with pytest.raises(EdgeError, match="disk full"):
        tracker._find_followers("d")
    with tracker.store.transaction() as writing:
        writing._connection.execute("DROP TRIGGER full")
    tracker._find_followers("d")
    tracker.taken(batch)
    questions = Questions(tracker)
    for id in ("c", "d"):
        summary = questions.changeset(id, 9, 0)
        assert summary is not None
        assert summary.complete, id
    assert tracker.counters.settled == 2
    tracker.store.close()


def test_nothing_is_answered_that_the_disk_has_refused(tmp_path: Path) -> None:
    """A restart would take it back; nor is an older word given for one that others crowd out."""
    tracker = TrackerService(lambda: NOWHERE, tmp_path)
    tracker.store.open()
    key = port("h")
    tracker.announce([announcement("c", ("h\x1fh", {key: 1}))])
    with tracker.store.transaction() as writing:
        writing._connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON hosts BEGIN SELECT raise(ABORT, 'disk full'); END"
        )
    with pytest.raises(EdgeError, match="disk full"):
        tracker.taken(read(report("h", line(key, 1))))
    assert tracker.is_open("c")
    with tracker.store.transaction() as writing:
        writing._connection.execute("DROP TRIGGER full")
        writing._connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON changesets BEGIN SELECT raise(ABORT, 'disk full'); END"
        )
    with pytest.raises(EdgeError, match="disk full"):
        tracker.taken(read(report("h", line(key, 1))))
    with pytest.raises(EdgeError, match="disk full"):
        tracker.announce([announcement("d", ("h\x1fh", {key: 2}))])
    summary = Questions(tracker).changeset("c", 9, 0)
    assert summary is not None
    assert summary.settled
    tracker.store.close()


class Taken:
    """Stands for a record of the status topic, with the broker's stamp."""

    def __init__(self, told: Report, at_us: int) -> None:
        self._value = encode_report(told)
        self._at_ms = at_us // 1_000

    def topic(self) -> str:
        """Return the topic of reports."""
        return STATUS_TOPIC

    def value(self) -> bytes:
        """Return the report."""
        return self._value

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of stamp, and the stamp in ms."""
        return TIMESTAMP_LOG_APPEND_TIME, self._at_ms


def test_a_host_whose_clock_was_years_ahead_is_believed_again(tracker: TrackerService) -> None:
    """What it told then is as old as the log says: later inventories replace it."""
    following = _Following(tracker, Cluster(id="c1", az="az", bootstrap=("x:1",)))
    ahead_us, key = 3_650 * _DAY_US, port("h")
    wrong = line(key, 1, at_us=_DAY_US + ahead_us)
    told: list[tuple[Report, int]] = [
        (report("h", wrong), _DAY_US),
        (inventory("h", _DAY_US + ahead_us, wrong), _DAY_US + 1_000),
        (inventory("h", 2 * _DAY_US), 2 * _DAY_US),
    ]
    for one in told:
        record: Any = Taken(*one)
        following.take([record], {})
    found = Questions(tracker).host("h")
    assert found is not None
    assert found.resources == ()
    assert found.inventory_us == 2 * _DAY_US


def test_an_announcement_that_comes_late_finds_what_was_deleted_since(
    tracker: TrackerService,
) -> None:
    """The host has told of the later delete, then of everything it has, and will say no more."""
    key = port("h")
    told = report("h", line(key, 1, at_us=10)), report("h", line(key, 2, at_us=20, deleted=True))
    tracker.taken(read(*told, inventory("h", 50)))
    tracker.announce([announcement("c", ("h\x1fh", {key: 1}))])
    assert not tracker.is_open("c")


def test_many_changesets_of_nobody_leave_a_bounded_trace(tmp_path: Path) -> None:
    """Only the last lines are remembered, but what fails is always found."""
    small = service(tmp_path, heard_max=3)
    fails = report("h", line(port("h"), 1, FAILED, changeset="bad"))
    lines = [line(port("h", f"p{one}"), 1, changeset=f"c{one}") for one in range(9)]
    for at_us, told in enumerate((fails, *(report("h", one) for one in lines))):
        small._heard_at_s = 0.0
        small.taken(read(told)._replace(now_us=at_us))
    questions = Questions(small)
    assert questions.changeset("bad", 9, 0) is not None
    assert questions.changeset("c8", 9, 0) is not None
    assert questions.changeset("c1", 9, 0) is None
    small.close()


class Followed:
    """Stands for a cluster's feed: notes which partitions were to be reached."""

    def __init__(self, cluster: str, trouble: EdgeError | None = None) -> None:
        self.cluster = Cluster(id=cluster, az="az", bootstrap=("x:1",))
        self.reached: list[set[int]] = []
        self._trouble = trouble

    @property
    def feed(self) -> Followed:
        """Itself: a following and its feed in one."""
        return self

    def reach(self, _topic: str, partitions: set[int]) -> bool:
        """Reach them, or fail."""
        self.reached.append(partitions)
        if self._trouble is not None:
            raise self._trouble
        return True


def test_only_clusters_with_a_replica_must_answer(tmp_path: Path) -> None:
    """One that is away keeps no changeset of other clusters open."""
    away = EdgeError("away", retryable=True)
    near, far = Followed("c1"), Followed("c2", away)
    tracker = TrackerService(lambda: NOWHERE, tmp_path, clusters_of=lambda _vpc: {"c1"})
    tracker.store.open()
    tracker._followings = {"c1": near, "c2": far}  # type: ignore[dict-item]
    scope = vpc_scope("v")
    tracker.announce([announcement("c", ("v\x1fv", {of_vpc("v", "vpc", "v"): 1}))])
    tracker.accepted(["c"])
    tracker._find_followers("c")
    assert len(near.reached) == 1
    assert far.reached == []
    assert not tracker.is_open("c"), "nobody follows it"
    tracker._clusters_of = None
    with pytest.raises(EdgeError, match="away"):
        tracker._reach([scope])
    tracker.store.close()


def test_a_gap_makes_it_forget_who_followed_in_that_partition(tracker: TrackerService) -> None:
    """They are read anew; those of other partitions and clusters stay."""
    cluster = Cluster(id="c1", az="az", bootstrap=("x:1",))
    number = spread("v", cluster.interest_partitions)
    other = next(
        vpc
        for vpc in (f"w{one}" for one in range(99))
        if spread(vpc, cluster.interest_partitions) != number
    )
    here = [Presence("v", "h", is_here=True), Presence(other, "h", is_here=True)]
    batch = read(presences=here)._replace(positions={(INTEREST_TOPIC, number): Bookmark(9)})
    tracker.taken(batch)
    tracker.lost(cluster, (INTEREST_TOPIC, number))
    reader = tracker.store.reader()
    assert reader.followers("v") == []
    assert reader.followers(other) == ["h"]
    assert reader.positions("c1") == {}
    reader.close()
    assert tracker.counters.gaps == 1

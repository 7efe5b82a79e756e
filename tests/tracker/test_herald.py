"""Announcing behind a publisher's back: in order, bounded, and again when the tracker is back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from southbound.errors import BufferFull, ConfigError, EdgeError, OutcomeUnknown, SouthboundError
from southbound.resources import Changeset, Resource, host_scope
from southbound.tracker.herald import Herald


class Tracker:
    """A tracker's client in memory, which can be away, refuse, or hold whoever asks."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.trouble: SouthboundError | None = None
        self.is_free = threading.Event()
        self.is_free.set()
        self.asked = threading.Semaphore(0)

    def announce(self, changesets: Sequence[Changeset]) -> None:
        """Take announcements."""
        self._answer([("announced", one.id) for one in changesets])

    def settle(self, accepted: Sequence[str], refused: dict[str, str]) -> tuple[str, ...]:
        """Take verdicts."""
        self._answer([*(("accepted", id) for id in accepted), *(("refused", id) for id in refused)])
        return ()

    def _answer(self, told: list[tuple[str, str]]) -> None:
        self.asked.release()
        assert self.is_free.wait(10)
        if self.trouble is not None:
            raise self.trouble
        self.heard += told


def herald(tracker: Tracker, waiting_max: int = 100) -> Herald:
    """Return a herald that tells this tracker."""
    client_of: Callable[[str], Tracker] = lambda _: tracker  # noqa: E731
    return Herald("http://tracker:1", waiting_max=waiting_max, client_of=client_of)


def changeset(id: str) -> Changeset:
    """Return a changeset."""
    return Changeset(id, (Resource(host_scope("h"), "router", "r", 1, {}),))


def test_what_is_published_and_settled_is_told_in_order() -> None:
    """Announcements before verdicts; an unknown outcome is none."""
    tracker = Tracker()
    with herald(tracker) as made:
        made.published([changeset("a"), changeset("b"), changeset("c")])
        made.settled("b", None)
        made.settled("a", BufferFull("no room"))
        made.settled("c", OutcomeUnknown("who knows"))
    announced = [("announced", id) for id in "abc"]
    assert tracker.heard == [*announced, ("accepted", "b"), ("refused", "a")]
    assert (made.told, made.untold) == (5, 0)


def test_a_tracker_that_is_away_is_told_when_it_is_back() -> None:
    """Nothing is lost or told twice; whoever publishes does not notice."""
    tracker = Tracker()
    tracker.trouble = EdgeError("away", retryable=True)
    with herald(tracker) as made:
        made.published([changeset("a")])
        assert tracker.asked.acquire(timeout=10)
        assert tracker.asked.acquire(timeout=10)
        made.settled("a", None)
        tracker.trouble = None
    assert tracker.heard == [("announced", "a"), ("accepted", "a")]


def test_a_full_queue_drops_what_comes_and_counts_it() -> None:
    """It never waits: the tracker holds one, two wait, the rest stays untold."""
    tracker = Tracker()
    tracker.is_free.clear()
    with herald(tracker, waiting_max=2) as made:
        made.published([changeset("held")])
        assert tracker.asked.acquire(timeout=10)
        for id in "abcd":
            made.published([changeset(id)])
        assert made.untold == 2
        tracker.is_free.set()
    assert [id for _, id in tracker.heard] == ["held", "a", "b"]


def test_what_a_tracker_refuses_is_not_told_again() -> None:
    """A mistake stays one; what comes after it goes on."""
    tracker = Tracker()
    tracker.trouble = ConfigError("no such thing")
    made = herald(tracker)
    made.start()
    made.published([changeset("bad")])
    assert tracker.asked.acquire(timeout=10)
    made.close()
    assert (made.told, made.untold, tracker.heard) == (0, 1, [])


def test_what_waits_at_the_end_stays_untold() -> None:
    """A tracker that stays away holds up nobody's end for longer than was said."""
    tracker = Tracker()
    tracker.trouble = EdgeError("away", retryable=True)
    made = herald(tracker)
    made.start()
    made.published([changeset("a"), changeset("b")])
    made.close(0.2)
    assert (made.told, made.untold) == (0, 2)
    made.published([changeset("c")])
    assert made.untold == 3

"""Planted bugs of the tracker service (§9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from southbound.tracker import store
from southbound.tracker.board import Board
from southbound.tracker.service import TrackerService, _Following
from southbound.tracker.store import Read, Writing
from southbound.wire.reports import Report
from tests.simulation.bug import Bug, bug
from tests.simulation.loop import DAY
from tests.simulation.tracker import Stamps


def _positions_first(self: _Following, messages: Sequence[Any], positions: Any) -> None:
    """Write how far was read before what was read."""
    service = self._service
    batch = Read(self._cluster, self._kafka_id, (), (), positions, service.log_time.now_us())
    with service.store.transaction() as writing:
        writing.read(batch)
    _TAKE(self, messages, positions)


def _nothing_recalled(self: Board, host: str, standings: Any) -> None:
    return


def _nothing_restored(self: TrackerService) -> None:
    return


def _written_at_once(self: Board) -> list[Any]:
    """Let go of what is touched before it is committed."""
    touched = _TOUCHED(self)
    self.written(touched)
    for one in touched:
        one.is_dirty = True
    return touched


def _only_news(self: Writing, report: Report, now_us: int) -> None:
    """Take the lines of an inventory, and believe nothing of what it does not name."""
    lines = store._Lines()
    lines.add(report)
    lines.write(self._connection)


def _own_clock(self: Stamps) -> int:
    """Tell the time by a clock of its own, which is a month ahead."""
    return self._world.loop.now_us + 30 * DAY


_TAKE = _Following.take
_TOUCHED = Board.touched

PLANTED: Mapping[str, Bug] = {
    "positions are written before reports": bug(
        "§9 what was read is committed with how far it was read",
        "tracked",
        (_Following, "take", _positions_first),
        stress=("tracker killed",) * 3,
    ),
    "a tracker begins with an empty board": bug(
        "§9 what was announced outlives the tracker",
        "tracked",
        (TrackerService, "_restore", _nothing_restored),
        stress=("tracker killed",) * 3,
    ),
    "what hosts told before is not recalled": bug(
        "§9 a tracker that is told late makes up for it from the standings",
        "tracked",
        (Board, "recall", _nothing_recalled),
        stress=("tracker killed",) * 3,
    ),
    "a board lets go before the commit": bug(
        "§9 what the disk refuses is written later",
        "tracked",
        (Board, "touched", _written_at_once),
        stress=("tracker's disk refuses",) * 3,
    ),
    "what an inventory lacks stays": bug(
        "§9 an inventory replaces what was told before it",
        "tracked",
        (Writing, "_inventory", _only_news),
        stress=("agent's disk wiped",) * 3,
    ),
    "a tracker forgets by its own clock": bug(
        "§9 what is too old is told by the stamps of the logs",
        "tracked",
        (Stamps, "now_us", _own_clock),
    ),
}

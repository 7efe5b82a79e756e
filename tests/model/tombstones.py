"""One slot, two janitors at once, publishers that delete and create again.

A janitor reads the log, writes a null for a delete whose retention is over, repairs what came in
falling order, and answers a null that landed behind a newer record by appending that record again.
Between its decision and its append anything may be appended. Compaction comes at the end, when both
janitors have read everything: its lag is longer than they take.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tests.model.reader import NULL, Habits, Log, Place, Revisions, begin, catch_up

_SCALE = 4
_HABITS = Habits()


class Sweeper(NamedTuple):
    """A janitor: how far it has read, the highest revision there, and what it is about to append.

    `nulled`: the delete for which a null was seen or written.
    """

    next: int = 0
    highest: int = 0
    ready: int = 0
    nulled: int = 0


class Scene(NamedTuple):
    """The log, which revisions were written, the janitors, and what a durable agent has read."""

    log: Log
    written: frozenset[int]
    sweepers: tuple[Sweeper, ...]


class Tombstones:
    """Revision 1 creates, 2 deletes; then 3 creates again and 4 may delete, in either order.

    `answers`: whether janitors answer a null behind a newer record. See `engine.Model`.
    """

    def __init__(self, revisions: tuple[int, ...] = (3, 4), *, answers: bool = True) -> None:
        self._revisions = Revisions(frozenset({2, 4}))
        self._later = revisions
        self._answers = answers

    def initial(self) -> Scene:
        """Return the beginning: something was created and deleted, and the delete is old."""
        return Scene((1 * _SCALE, 2 * _SCALE), frozenset({1, 2}), (Sweeper(), Sweeper()))

    def successors(self, scene: Scene) -> list[tuple[str, Scene]]:
        """Return what publishers and janitors can do."""
        found = [
            (
                f"revision {one} is written",
                Scene((*scene.log, one * _SCALE), scene.written | {one}, scene.sweepers),
            )
            for one in self._later
            if one not in scene.written
        ]
        for at, sweeper in enumerate(scene.sweepers):
            for name, changed, log in self._sweep(scene, sweeper):
                sweepers = (*scene.sweepers[:at], changed, *scene.sweepers[at + 1 :])
                found.append((f"janitor {at + 1} {name}", Scene(log, scene.written, sweepers)))
        return found

    def is_final(self, scene: Scene) -> bool:
        """Tell whether everything is written, and both janitors have nothing left to do."""
        return not self.successors(scene)

    def problem(self, scene: Scene) -> str | None:
        """Say which promise is broken once all is done and compacted."""
        if not self.is_final(scene):
            return None
        expected = self._revisions.shows(max(scene.written))
        newest = scene.log[-1]
        compact: Log = () if newest == NULL else (newest,)
        for name, log in (("", scene.log), (" after compaction", compact)):
            fresh = begin(Place(0, 1, 0), (log,), 0, _HABITS)
            held = catch_up(fresh, (log,), _HABITS, self._revisions).held
            if self._revisions.shows(held) != expected:
                return f"a fresh agent shows {held} instead of {expected}{name}"
        return None

    def _sweep(self, scene: Scene, one: Sweeper) -> Iterable[tuple[str, Sweeper, Log]]:
        if one.ready:
            record = NULL if one.ready == NULL else one.ready * _SCALE
            name = "writes a null" if one.ready == NULL else f"repeats {one.ready}"
            yield name, one._replace(ready=0), (*scene.log, record)
            return
        if one.next < len(scene.log):
            yield "reads", self._read(one, scene.log[one.next]), scene.log
            return
        is_old = all(rev in scene.written for rev in self._later if rev < one.highest)
        if one.highest in self._revisions.deletes and one.nulled != one.highest and is_old:
            yield "means to forget", one._replace(ready=NULL, nulled=one.highest), scene.log

    def _read(self, one: Sweeper, record: object) -> Sweeper:
        one = one._replace(next=one.next + 1)
        assert isinstance(record, int)
        if record == NULL:
            if one.highest in self._revisions.deletes:
                return one._replace(nulled=one.highest)
            return one._replace(ready=one.highest) if self._answers else one
        revision = record // _SCALE
        if revision < one.highest:
            return one._replace(ready=one.highest)
        return one._replace(highest=revision)

"""What a node was asked, read from the log of its applier and judged as it grows.

The rule: each line is read once, however often it is asked what was wrong: a run of an hour writes
hundreds of thousands. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from southbound.resources import ScopeClass
from southbound.wire.keys import decode_key
from tests.faults.child import Applied

_SEEN_MAX = 10


class Judge:
    """Judges one host by a log of `Applied`. `wrong` and `repeated` name the first of each sort."""

    def __init__(self, host: str, log: Path) -> None:
        self._host = host
        self._log = log
        self._lock = threading.Lock()
        self._offset = 0
        self._highest: dict[str, int] = {}
        self._scopes: dict[str, str] = {}
        self._told: dict[str, int] = {}
        self._wrong: list[str] = []
        self._repeated: list[str] = []

    def wrong(self) -> list[str]:
        """Return what the node was asked for and should not have been."""
        self._look()
        return list(self._wrong)

    def repeated(self) -> list[str]:
        """Return what it was asked for twice by the same life of its agent, outside of snapshots.

        Where the applier failed, or the state was lost, that is as it should be.
        """
        self._look()
        return list(self._repeated)

    def _look(self) -> None:
        with self._lock:
            for plan in self._fresh():
                self._judge(plan)

    def _fresh(self) -> Iterator[Applied]:
        """Yield the plans whose lines were completed since the last look."""
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                yield msgspec.json.decode(line, type=Applied)

    def _judge(self, plan: Applied) -> None:
        if plan.begins:
            self._told.clear()
        for key, revision, op in plan.changes:
            self._judge_change(key, revision, op)
            if not plan.complete and self._told.get(key) == revision:
                _note(self._repeated, f"{key!r} was asked for twice at {revision}")
            self._told[key] = revision
        if plan.complete or plan.only is not None:
            self._judge_absence(plan)

    def _judge_absence(self, plan: Applied) -> None:
        """A scope that is told in whole, or not named among those there are, takes down the rest."""
        named = {key for key, _, _ in plan.changes}
        for key, scope in self._scopes.items():
            is_gone = scope in plan.complete or scope not in (plan.only or [scope])
            if is_gone and key not in named:
                _note(self._wrong, f"{key!r} was taken down")

    def _judge_change(self, key: str, revision: int, op: int) -> None:
        before = self._highest.get(key)
        if before is None:
            scope = decode_key(key.encode()).scope
            self._scopes[key] = str(scope)
            if scope.cls is ScopeClass.HOST and scope.id != self._host:
                _note(self._wrong, f"{key!r} is foreign")
        elif revision < before:
            _note(self._wrong, f"{key!r} fell from {before} to {revision}")
        if op != 0:
            _note(self._wrong, f"{key!r} was deleted")
        self._highest[key] = max(revision, before or 0)


def _note(found: list[str], words: str) -> None:
    if len(found) < _SEEN_MAX:
        found.append(words)

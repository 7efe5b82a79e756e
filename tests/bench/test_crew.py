from __future__ import annotations

import os
from pathlib import Path

import pytest

from southbound.bench.crew import Crew
from southbound.errors import EdgeError


class Hand:
    """A hand that knows its process, and leaves a file when it is closed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def who(self, word: str) -> tuple[str, int]:
        """Return the word and the process."""
        return word, os.getpid()

    def fail(self) -> None:
        """Raise."""
        raise ValueError("no such thing")

    def close(self) -> None:
        """Leave a file."""
        (self._folder / str(os.getpid())).touch()


def test_hands_work_in_processes_of_their_own_and_end_with_their_crew(tmp_path: Path) -> None:
    """Each does its share, a failure is told in its words, and all are closed at the end."""
    with Crew(2, Hand, tmp_path) as crew:
        answers = crew.ask("who", [("a",), ("b",)])
        with pytest.raises(EdgeError, match="fail: no such thing"):
            crew.ask_all("fail")
        assert crew.ask_all("who", "again") == [("again", pid) for _, pid in answers]
        assert [list(share) for share in crew.deal([1, 2, 3])] == [[1, 3], [2]]
    assert [word for word, _ in answers] == ["a", "b"]
    pids = {pid for _, pid in answers}
    assert len(pids - {os.getpid()}) == 2
    assert {int(file.name) for file in tmp_path.iterdir()} == pids

"""Following map changes over a stream in memory: one that is none stops nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from southbound.directory.follower import Follower
from southbound.errors import WireError


class Stream:
    """Redis' stream of changes, and this process' memory of the map."""

    version = 0
    beginning = (0, "0-0")

    def __init__(self, *changes: dict[str, str]) -> None:
        self._changes = [(f"{number}-1", one) for number, one in enumerate(changes, 1)]
        self.mistrusted = 0

    def changes(self, after: str, _wait_s: float) -> list[tuple[str, dict[str, str]]]:
        """Return what came behind an id."""
        return [one for one in self._changes if int(one[0][:-2]) > int(after[:-2])]

    def settle(self) -> None:
        """Be settled."""

    def mistrust(self) -> None:
        """Count."""
        self.mistrusted += 1


@pytest.mark.parametrize(
    "bad", [{}, {"v": ""}, {"v": "x"}, {"v": "-1"}, {"v": "9" * 5_000}, {"v": "2", "k": "!"}]
)
def test_a_change_that_cannot_be_read_is_counted_and_passed_over(bad: dict[str, str]) -> None:
    """Nothing that was read before is believed then, and what follows is taken."""
    taken = []

    def take(fields: Mapping[str, str]) -> None:
        if fields.get("k") == "!":
            raise WireError("not a row")
        taken.append(fields["v"])

    stream = Stream({"v": "1"}, bad, {"v": "3"})
    follower = Follower(stream, stream, take, lambda: None, 0.0)  # type: ignore[arg-type]  # what it asks of both
    follower._turn()
    assert taken == ["1", "3"]
    assert follower.quarantined == 1
    assert stream.mistrusted >= 1
    assert stream.changes(follower._after, 0) == []


def test_silence_counts_from_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that fails says nothing, so what is in memory grows old meanwhile."""
    now_s = 100.0
    monkeypatch.setattr("southbound.directory.follower._time_s", lambda: now_s)
    stream = Stream()
    follower = Follower(stream, stream, lambda _: None, lambda: None, 0.0)  # type: ignore[arg-type]  # what it asks of both
    now_s = 160.0
    assert follower.silent_s == 60.0

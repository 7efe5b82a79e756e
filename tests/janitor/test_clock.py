from __future__ import annotations

import time

import pytest

from southbound.errors import EdgeError
from southbound.janitor.clock import SweepClock

HOUR_US = 3_600_000_000


def own_us() -> int:
    """Return what this machine's clock says."""
    return time.time_ns() // 1000


@pytest.mark.parametrize(
    ("ahead_us", "counts_us", "word"),
    [(HOUR_US, -HOUR_US, "ahead of"), (-HOUR_US, 0, "behind"), (0, 0, "")],
)
def test_the_earlier_clock_counts(ahead_us: int, counts_us: int, word: str) -> None:
    """Whichever of the two is wrong, nothing is erased before its time by both."""
    clock = SweepClock(lambda: own_us() - ahead_us)
    clock.begin()
    assert abs(clock.now_us() - own_us() - counts_us) < 5_000_000
    assert word in clock.trouble
    assert bool(clock.trouble) == bool(word)


def test_without_the_other_clock_the_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A jump of this machine's clock while Redis is away makes nothing due."""
    answers: list[int | EdgeError] = [own_us(), EdgeError("away", retryable=True)]

    def other_us() -> int:
        answer = answers.pop(0)
        if isinstance(answer, EdgeError):
            raise answer
        return answer

    clock = SweepClock(other_us)
    clock.begin()
    before_us, real = clock.now_us(), time.time_ns
    monkeypatch.setattr("southbound.janitor.clock.time.time_ns", lambda: real() + 10**18)
    clock.begin()
    assert 0 <= clock.now_us() - before_us < 5_000_000
    assert "ahead of" in clock.trouble


def test_a_first_sweep_without_the_other_clock_goes_by_its_own() -> None:
    """There is nothing else."""

    def other_us() -> int:
        raise EdgeError("away", retryable=True)

    clock = SweepClock(other_us)
    clock.begin()
    assert abs(clock.now_us() - own_us()) < 5_000_000
    assert clock.trouble == ""

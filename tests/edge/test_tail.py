import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from southbound.edge.tail import SharedAnswer
from southbound.errors import EdgeError


class Log:
    """A log whose end is asked for, one question at a time, each taking a while."""

    def __init__(self) -> None:
        self.end = 0
        self.asked = 0
        self.at_once = 0
        self.at_once_max = 0
        self.failure: EdgeError | None = None
        self.pause = threading.Event()
        self._lock = threading.Lock()

    def ask(self, timeout_s: float) -> int:
        """Answer with the end as it was when the question arrived."""
        with self._lock:
            self.asked += 1
            self.at_once += 1
            self.at_once_max = max(self.at_once_max, self.at_once)
        end = self.end
        self.pause.wait(timeout_s)
        with self._lock:
            self.at_once -= 1
        if self.failure is not None:
            raise self.failure
        return end


def wait_for_waiters(answer: SharedAnswer, count: int) -> None:
    """Wait until so many threads wait for the answer in turn."""
    end_s = time.monotonic() + 10
    while answer.waiting < count:
        assert time.monotonic() < end_s
        time.sleep(0.001)


def test_those_who_come_during_a_question_share_the_next_one() -> None:
    """Twenty threads, two questions: the first one's, and one for all who came meanwhile."""
    log = Log()
    answer = SharedAnswer(log.ask)
    with ThreadPoolExecutor(21) as threads:
        first = threads.submit(answer.get, 10)
        while log.asked < 1:
            time.sleep(0.001)
        # Written after the first question left: its answer must not serve those who come now.
        log.end = 7
        others = [threads.submit(answer.get, 10) for _ in range(20)]
        wait_for_waiters(answer, 20)
        log.pause.set()
        assert first.result() == 0
        assert {other.result() for other in others} == {7}
    assert (log.asked, log.at_once_max) == (2, 1)


def test_a_failure_is_everybodys() -> None:
    """Each thread gets an error of its own that says the same."""
    log = Log()
    log.failure = EdgeError("away", retryable=True)
    log.pause.set()
    answer = SharedAnswer(log.ask)
    for _ in range(3):
        with pytest.raises(EdgeError, match="away") as caught:
            answer.get(1)
        assert caught.value.retryable
    log.failure = None
    assert answer.get(1) == 0


def test_nobody_waits_longer_than_asked() -> None:
    """While another's question stays open, one gives up in time."""
    log = Log()
    answer = SharedAnswer(log.ask)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(answer.get, 10)
        while log.asked < 1:
            time.sleep(0.001)
        with pytest.raises(EdgeError, match="no answer"):
            answer.get(0.05)
        log.pause.set()
        assert first.result() == 0

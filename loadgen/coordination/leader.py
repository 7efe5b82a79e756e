"""Who leads a run: gathers workers, tells them what to do, and waits for their answers.

The rule: every wait has an end. It ends with the answers, with the words of whoever failed, with the
name of a worker whose lease has run out, or with the time given; and the team is always dismissed.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from loadgen.coordination.board import START, Board, Present
from loadgen.coordination.messages import BEGIN, END, Answer, Card, Order
from southbound import __version__
from southbound.errors import ConfigError, EdgeError, Fault

Progress = Callable[[str], None]

_WAIT_S = 0.5


class LostWorker(EdgeError):
    """A worker has died, or cannot be reached; `worker` is its name."""

    def __init__(self, card: Card, doing: str, silent_s: float) -> None:
        self.worker = card.worker
        super().__init__(
            f"worker {card} is lost: it left, or was not heard of for {silent_s:g} s, during {doing}",
            retryable=False,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderSettings:
    """Which team is led.

    `lease_s`: how long the team believes in a leader that it does not hear, and he in a worker.
    `say_every_s`: how often long work is reported.
    """

    redis_url: str
    team: str = "default"
    lease_s: float = 20.0
    gather_timeout_s: float = 60.0
    say_every_s: float = 2.0


class Leader:
    """Leads a team for one run. A context manager; for one thread.

    Entering raises `EdgeError` when another run leads the team. `run` names this one.
    """

    def __init__(self, settings: LeaderSettings, progress: Progress) -> None:
        self.run = uuid.uuid4().hex
        self._settings = settings
        self._say = progress
        self._board = Board(settings.redis_url, settings.team)
        self._team: dict[str, Card] = {}
        self._number = 0
        self._place = START
        self._over = threading.Event()
        self._deposed: EdgeError | None = None
        self._renewing = threading.Thread(target=self._renew, name="loadgen-lead", daemon=True)

    @property
    def board(self) -> Board:
        """Where the team meets."""
        return self._board

    @property
    def workers(self) -> list[str]:
        """Who works for this run, by name, in the order in which shares are dealt."""
        return list(self._team)

    def __enter__(self) -> Self:
        if not self._board.lead(self.run, self._settings.lease_s):
            raise EdgeError(
                f"another run leads the team {self._settings.team!r} at {self._board.address}: "
                f"wait for its end, or {self._settings.lease_s:g} s after it was killed",
                retryable=True,
            )
        self._renewing.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._renewing.join()
        try:
            self.dismiss()
            self._board.end(self.run)
        except EdgeError as away:
            self._say(f"the workers could not be told that this run is over: {away}")
        finally:
            self._board.close()

    def gather(self, count: int) -> list[Card]:
        """Take `count` idle workers, waiting for them. Raises `EdgeError`, `ConfigError`."""
        deadline_s = time.monotonic() + self._settings.gather_timeout_s
        told = -1
        while True:
            idle = [one for one in self._board.present() if not one.beat.run]
            _check_versions(idle)
            free = [one.card for one in idle if one.card.worker not in self._team]
            if len(free) >= count:
                self._team |= {card.worker: card for card in free[:count]}
                return free[:count]
            if len(free) != told:
                told = len(free)
                self._say(f"waiting for workers: {told} of {count}")
            if time.monotonic() > deadline_s:
                raise EdgeError(
                    f"{len(free)} of {count} workers joined the team {self._settings.team!r} at "
                    f"{self._board.address} within {self._settings.gather_timeout_s:g} s",
                    retryable=True,
                )
            self._check()
            time.sleep(_WAIT_S)

    def begin(self, role: str, workers: Sequence[str], timeout_s: float = 120.0) -> None:
        """Let each of these workers make a hand. Raises as `ask`."""
        self._call(BEGIN, dict.fromkeys(workers, (role,)), timeout_s)

    def ask(
        self, what: str, arguments: Mapping[str, tuple[Any, ...]], timeout_s: float
    ) -> dict[str, Any]:
        """Call a method of the hands of these workers, side by side; return each one's result.

        Arguments and results are plain data. Raises `EdgeError` with the words of the first that
        failed, `LostWorker`, or when the time is over.
        """
        return self._call(what, arguments, timeout_s)

    def dismiss(self) -> None:
        """Let all workers close their hands; the next run may have them."""
        for worker in self._team:
            self._number += 1
            self._board.order(worker, Order(self.run, self._number, END))
        self._team = {}

    def _call(
        self, what: str, arguments: Mapping[str, tuple[Any, ...]], timeout_s: float
    ) -> dict[str, Any]:
        self._number += 1
        for worker, given in arguments.items():
            self._board.order(worker, Order(self.run, self._number, what, given))
        waiting = dict.fromkeys(arguments)
        results: dict[str, Any] = {}
        deadline_s = time.monotonic() + timeout_s
        told_s = time.monotonic()
        while waiting:
            answers, self._place = self._board.answers(self.run, self._place, _WAIT_S)
            for answer in answers:
                if answer.number == self._number and answer.worker in waiting:
                    results[answer.worker] = self._result(what, answer)
                    del waiting[answer.worker]
            if answers:
                continue
            told_s = self._look_after(what, list(waiting), told_s)
            if time.monotonic() > deadline_s:
                named = ", ".join(str(self._team[worker]) for worker in waiting)
                raise EdgeError(f"no answer to {what} in {timeout_s:g} s: {named}", retryable=False)
        return {worker: results[worker] for worker in arguments}

    def _result(self, what: str, answer: Answer) -> Any:
        if answer.words:
            card = self._team[answer.worker]
            raise EdgeError(f"worker {card}: {what} failed: {answer.words}", retryable=False)
        return answer.result

    def _look_after(self, what: str, waiting: Sequence[str], told_s: float) -> float:
        """Make sure that those who owe an answer live; report now and then; return when it was."""
        self._check()
        beats = self._board.beats(waiting)
        for worker, beat in zip(waiting, beats, strict=True):
            if beat is None:
                raise LostWorker(self._team[worker], what, self._settings.lease_s)
        if time.monotonic() - told_s < self._settings.say_every_s:
            return told_s
        doing = sorted({beat.doing for beat in beats if beat is not None and beat.doing})
        if doing:
            self._say("; ".join(doing))
        return time.monotonic()

    def _check(self) -> None:
        if self._deposed is not None:
            raise self._deposed

    def _renew(self) -> None:
        """Keep the lead; once it is lost for good, say so to whoever asks next."""
        heard_s = time.monotonic()
        while not self._over.wait(self._settings.lease_s / 10):
            try:
                if not self._board.renew_lead(self.run, self._settings.lease_s):
                    self._deposed = EdgeError("another run leads the team now", retryable=False)
                    return
                heard_s = time.monotonic()
            except EdgeError as error:
                if time.monotonic() - heard_s > self._settings.lease_s:
                    self._deposed = error
                    return


def _check_versions(idle: Sequence[Present]) -> None:
    faults = [
        Fault(f"worker {one.card}", one.card.version, f"this is version {__version__}")
        for one in idle
        if one.card.version != __version__
    ]
    if faults:
        raise ConfigError("workers of another version have joined", faults)

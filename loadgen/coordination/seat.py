"""A hand's process: made for one run, ended with it, and watched from outside.

The rule: what a worker computes and what says that it lives are two processes, so that a hand at
full load still counts as alive, one that has died is known to have died at once, and one that is no
longer wanted can be ended in the midst of whatever it does. A hand whose worker is gone ends itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Protocol

from southbound.bench.crew import SWITCH_S
from southbound.errors import EdgeError

Say = Callable[[str], None]
"""Takes a few words on how far something is."""

_POLL_S = 0.25
_WATCH_S = 1.0
_ORPHANED = 3


class Hand(Protocol):
    """What works in a seat. Its public methods may be called by name; see `Outpost`."""

    def close(self) -> None:
        """End everything that it began."""


class Seat:
    """A process with a hand that `make(say)` makes there. For one thread, but `kill` and `doing`.

    `make` must be importable by its name.
    """

    def __init__(self, make: Callable[[Say], Hand]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._there = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._there, make), daemon=True)
        self._is_unwanted = threading.Event()
        self.doing = ""

    def start(self) -> None:
        """Start the process; return when the hand is made. Raises `EdgeError`."""
        self._process.start()
        self._there.close()
        self._answer("making its hand")

    def do(self, what: str, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the hand. Raises `EdgeError` with its words, or when its process ends."""
        try:
            self._pipe.send((what, arguments))
        except OSError as error:
            raise self._ended(what) from error
        return self._answer(what)

    def kill(self) -> None:
        """End the process at once; whoever waits for its answer gets an error."""
        self._is_unwanted.set()
        if self._process.pid is not None:
            self._process.kill()

    def close(self, timeout_s: float) -> None:
        """Let the hand end everything; after `timeout_s` end its process by force."""
        self._pipe.close()
        if self._process.pid is None:
            return
        self._process.join(timeout_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    @property
    def pid(self) -> int | None:
        """The process, once it was started."""
        return self._process.pid

    def _answer(self, what: str) -> Any:
        try:
            while True:
                if not self._pipe.poll(_POLL_S):
                    if not self._process.is_alive() and not self._pipe.poll(0):
                        raise self._ended(what)
                    continue
                kind, told = self._pipe.recv()
                if kind == "doing":
                    self.doing = told
                    continue
                self.doing = ""
                if kind == "failed":
                    raise EdgeError(f"{what}: {told}", retryable=False)
                return told
        except (EOFError, OSError) as error:
            raise self._ended(what) from error

    def _ended(self, what: str) -> EdgeError:
        self._process.join(_WATCH_S)
        code = self._process.exitcode
        how = f"was ended by signal {-code}" if code and code < 0 else f"ended with status {code}"
        if self._is_unwanted.is_set():
            how = "was given up"
        return EdgeError(f"its process {self._process.pid} {how} during {what}", retryable=False)


class _Line:
    """The hand's end of the pipe. Thread-safe: a hand may say how far it is from any thread."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._telling = threading.Lock()

    def tell(self, kind: str, told: Any) -> None:
        with self._telling:
            self._pipe.send((kind, told))

    def say(self, words: str) -> None:
        with suppress(OSError):
            # Nobody listens any more: the next look at the pipe ends this process.
            self.tell("doing", words)


def _serve(pipe: Connection, make: Callable[[Say], Hand]) -> None:
    """Do what comes through the pipe until it is closed."""
    # Whoever interrupts the run interrupts its parent, which closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.setswitchinterval(SWITCH_S)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    line = _Line(pipe)
    try:
        hand = make(line.say)
    except Exception as error:  # noqa: BLE001  # whatever it is, the worker is told
        line.tell("failed", _words(error))
        return
    try:
        line.tell("done", None)
        while True:
            what, given = pipe.recv()
            line.tell(*_outcome(hand, what, given))
    except (EOFError, OSError):
        # The worker has closed the pipe: this run is over.
        return
    finally:
        hand.close()


def _outcome(hand: Hand, what: str, given: tuple[Any, ...]) -> tuple[str, Any]:
    """Call a public method of the hand; return how it ended and what it returned."""
    method = None if what.startswith("_") else getattr(hand, what, None)
    if not callable(method):
        return "failed", f"{type(hand).__name__} cannot {what!r}"
    try:
        return "done", method(*given)
    except Exception as error:  # noqa: BLE001  # whatever it is, the worker is told
        return "failed", _words(error)


def _words(error: Exception) -> str:
    return f"{error}\n{traceback.format_exc()}"


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, whatever it is doing."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(_ORPHANED)

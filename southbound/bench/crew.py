"""Hands at work in processes of their own, which do what they are told over a pipe.

The rule: one interpreter holds one lock, so what runs on many machines in the field runs here in
several processes; and a process of a crew ends with its crew, however that ends.
"""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from southbound.errors import EdgeError

_END_S = 30.0
SWITCH_S = 0.1
"""How long a thread waits for the interpreter before it insists. A node's agent has it for itself;
hundreds of threads that insist every 5 ms spend more time on that than on their work.
"""

Item = TypeVar("Item")


class Hand(Protocol):
    """What works in a process. Its public methods may be called by name."""

    def close(self) -> None:
        """End everything that it began."""


class Crew:
    """`count` processes, each with a hand that `make(*arguments)` makes there.

    `make` must be importable by its name. A context manager.
    """

    def __init__(self, count: int, make: Callable[..., Hand], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, make, arguments), daemon=True)
            self._pipes.append(here)
            self._processes.append((process, there))

    def __enter__(self) -> Self:
        for process, there in self._processes:
            process.start()
            there.close()
        # Everything is imported before anything is measured.
        self.ask("ready", [()] * len(self._pipes))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process, _ in self._processes:
            process.join(_END_S)
            if process.is_alive():
                process.kill()
                process.join()

    def __len__(self) -> int:
        return len(self._pipes)

    def deal(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """Return the items' shares, one for each process."""
        return [items[number :: len(self)] for number in range(len(self))]

    def ask(self, order: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a hand's method in every process, side by side; return the answers.

        Raises `EdgeError` with the words of the first that failed.
        """
        for pipe, given in zip(self._pipes, arguments, strict=True):
            pipe.send((order, given))
        answers = [self._answer(pipe, order) for pipe in self._pipes]
        failed = [words for fine, words in answers if not fine]
        if failed:
            raise EdgeError(f"{order}: {failed[0]}", retryable=False)
        return [answer for _, answer in answers]

    def ask_all(self, order: str, *arguments: Any) -> list[Any]:
        """Call a hand's method with the same arguments in every process."""
        return self.ask(order, [arguments] * len(self))

    def _answer(self, pipe: Connection, order: str) -> tuple[bool, Any]:
        try:
            answer: tuple[bool, Any] = pipe.recv()
        except EOFError:
            return False, f"a process ended during {order}"
        return answer


@contextmanager
def scratch() -> Iterator[Path]:
    """Make an empty folder for the hands' state; remove it at the end."""
    made = Path(tempfile.mkdtemp(prefix="southbound-bench-nodes-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _serve(pipe: Connection, make: Callable[..., Hand], arguments: tuple[Any, ...]) -> None:
    """Do what comes through the pipe until it is closed."""
    # Whoever interrupts the run interrupts its parent, which closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_S)
    hand = make(*arguments)
    try:
        while True:
            order, given = pipe.recv()
            try:
                answer = None if order == "ready" else getattr(hand, order)(*given)
            except Exception as error:  # noqa: BLE001  # whatever it is, the parent is told
                pipe.send((False, f"{error}\n{traceback.format_exc()}"))
            else:
                pipe.send((True, answer))
    except EOFError:
        return
    finally:
        hand.close()

"""A process that does what it is told, line by line, and answers each order with a line of JSON.

The rule: it does nothing unasked, and ends when its orders do, so that it never outlives the test.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from tests.faults.stage import ROOT

_Answer = TypeVar("_Answer")
_STACK_KIB = 512


class Orderly:
    """A handle of one. `words` are a module and what it is given; its errors go where ours do."""

    def __init__(self, *words: str) -> None:
        # Threads by the thousand: each would ask for the address space of eight mebibytes.
        shell = ("sh", "-c", f'ulimit -s {_STACK_KIB}; ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh")
        self._process = subprocess.Popen(
            [*shell, sys.executable, "-m", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tell(self, *order: str) -> None:
        """Give an order, and do not wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()

    def hear(self, kind: type[_Answer]) -> _Answer:
        """Wait for the answer to an order."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"process {self.pid} has ended: {self._process.poll()}"
        return msgspec.json.decode(line, type=kind)

    def end(self, within_s: float = 30.0) -> None:
        """Let it end; by force when it takes too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()

    def kill(self) -> None:
        """End it by force."""
        self._process.kill()
        self._process.wait()


def asked(orderlies: Sequence[Orderly], kind: type[_Answer], *order: str) -> list[_Answer]:
    """Give several the same order at once, and return all answers."""
    for one in orderlies:
        one.tell(*order)
    return [one.hear(kind) for one in orderlies]

"""A machine's workers: each has a seat for a hand, takes orders, and answers.

The rule: a worker serves one run after another, each with a hand of its own, and gives a run up as
soon as its leader's lease has run out or another run leads. Orders of another run are not obeyed.
"""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from loadgen.coordination.board import START, Board
from loadgen.coordination.messages import BEGIN, END, Answer, Beat, Card, Order
from loadgen.coordination.seat import Hand, Say, Seat
from southbound import __version__
from southbound.errors import EdgeError

Roles = Mapping[str, Callable[[Say], Hand]]
"""What a hand may be: by its name, who makes one. Nothing else can be asked of a worker."""

_IDLE_S = 0.5
_JOIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutpostSettings:
    """Where workers meet their leader, and how many there are here.

    `beat_s`: how often each says that it lives; `lease_s`: for how long that is believed.
    `closing_s`: how long a hand may take to end everything.
    """

    redis_url: str
    team: str = "default"
    seats: int = 1
    beat_s: float = 1.0
    lease_s: float = 20.0
    closing_s: float = 30.0


class Outpost:
    """Workers of this machine, in threads that only wait; their hands have processes of their own.

    A context manager: joins, and leaves.
    """

    def __init__(self, settings: OutpostSettings, roles: Roles) -> None:
        self._settings = settings
        self._board = Board(settings.redis_url, settings.team)
        self._stopping = threading.Event()
        self._workers = [
            _Worker(_card(number), settings, roles, self._board, self._stopping)
            for number in range(settings.seats)
        ]
        self._threads: list[threading.Thread] = []
        self._lost: EdgeError | None = None

    @property
    def cards(self) -> list[Card]:
        """Who works here."""
        return [worker.card for worker in self._workers]

    def pids(self) -> list[int]:
        """Return the processes of the hands that work now."""
        return [pid for worker in self._workers if (pid := worker.pid) is not None]

    def __enter__(self) -> Self:
        for worker in self._workers:
            self._board.join(worker.card, self._settings.lease_s)
            self._start(worker.work, worker.card.worker)
        self._start(self._beat, "beat")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for worker in self._workers:
            worker.give_up()
        for thread in self._threads:
            thread.join()
        try:
            for worker in self._workers:
                self._board.leave(worker.card.worker)
        except EdgeError:
            # Redis went first: the leases run out by themselves.
            self._lost = self._lost or None
        finally:
            self._board.close()

    def serve(self, until: Callable[[], bool]) -> None:
        """Work until told to stop. Raises `EdgeError` when Redis was away for as long as a lease."""
        while not until() and not self._stopping.wait(_IDLE_S):
            pass
        if self._lost is not None:
            raise self._lost

    def _start(self, run: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=run, name=f"loadgen-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _beat(self) -> None:
        """Renew all leases, and look who leads; without Redis for a lease's time, give all up."""
        heard_s = time.monotonic()
        while not self._stopping.wait(self._settings.beat_s):
            try:
                leading = self._board.leader()
                for worker in self._workers:
                    worker.beat(leading)
            except EdgeError as error:
                if time.monotonic() - heard_s > self._settings.lease_s:
                    self._lost = error
                    self._stopping.set()
                    for worker in self._workers:
                        worker.give_up()
            else:
                heard_s = time.monotonic()


class _Worker:
    """One worker: its thread takes orders; `beat` and `give_up` are for the outpost's thread."""

    def __init__(
        self,
        card: Card,
        settings: OutpostSettings,
        roles: Roles,
        board: Board,
        stopping: threading.Event,
    ) -> None:
        self.card = card
        self._settings = settings
        self._roles = roles
        self._board = board
        self._stopping = stopping
        self._run = ""
        self._seat: Seat | None = None
        self._place = START
        self._is_over = threading.Event()

    @property
    def pid(self) -> int | None:
        seat = self._seat
        return None if seat is None else seat.pid

    def beat(self, leading: str) -> None:
        """Renew the lease; end the hand of a run that leads no more."""
        run, seat = self._run, self._seat
        if run and run != leading:
            self.give_up()
        doing = seat.doing if seat is not None else ""
        self._board.beat(self.card.worker, Beat(run, doing), self._settings.lease_s)

    def give_up(self) -> None:
        seat = self._seat
        if seat is not None:
            self._is_over.set()
            seat.kill()

    def work(self) -> None:
        """Obey until the outpost stops."""
        while not self._stopping.is_set():
            try:
                orders, self._place = self._board.orders(self.card.worker, self._place, _IDLE_S)
                for order in orders:
                    self._obey(order)
                if self._is_over.is_set():
                    self._end()
            except EdgeError:
                # The thread that beats judges how long Redis may be away.
                self._stopping.wait(_IDLE_S)
        self._end()

    def _obey(self, order: Order) -> None:
        if order.what == END:
            if order.run == self._run:
                self._end()
            return
        if order.run != self._board.leader():
            return
        answer = self._answer(order)
        self._board.answer(order.run, answer)

    def _answer(self, order: Order) -> Answer:
        try:
            if order.what == BEGIN:
                self._begin(order)
                return Answer(order.number, self.card.worker)
            if order.run != self._run or self._seat is None:
                raise EdgeError("it has no hand for this run", retryable=False)
            result = self._seat.do(order.what, order.arguments)
            return Answer(order.number, self.card.worker, result)
        except EdgeError as error:
            return Answer(order.number, self.card.worker, words=str(error))

    def _begin(self, order: Order) -> None:
        self._end()
        role = order.arguments[0]
        if role not in self._roles:
            raise EdgeError(f"it knows no role {role!r}", retryable=False)
        seat = Seat(self._roles[role])
        self._seat, self._run = seat, order.run
        seat.start()

    def _end(self) -> None:
        seat, self._seat, self._run = self._seat, None, ""
        self._is_over.clear()
        if seat is not None:
            seat.close(self._settings.closing_s)


def _card(number: int) -> Card:
    machine = platform.node()
    # Names are never used again, so nobody takes an earlier worker's orders for his own.
    return Card(
        worker=f"{machine}-{os.getpid()}-{number}-{uuid.uuid4().hex[:6]}",
        machine=machine,
        pid=os.getpid(),
        cores=len(os.sched_getaffinity(0)),
        version=__version__,
    )

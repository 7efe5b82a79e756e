"""Where a team meets: its cards, leases, orders and answers in Redis.

The rule: this is the only file of the load generator's coordination that knows Redis' commands, and
every one of them may be sent twice. What is kept is bounded: streams by their length, everything
else by expiring.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from loadgen.coordination.messages import Answer, Beat, Card, Names, Order, pack, unpack
from southbound.edge.redis import RedisLink
from southbound.errors import ConfigError, EdgeError, Fault

Told = TypeVar("Told", Order, Answer)

_TIMEOUT_S = 10.0
_STREAM_MAX = 1_000
_STREAM_KEPT_MS = 3_600_000
_READ_MAX = 100
_FIELD = b"m"
START = "0-0"
"""The place in a stream before its first message."""

# Only who holds a lease may renew it or give it back.
_RENEW = "return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('PEXPIRE',KEYS[1],ARGV[2])"
_RELEASE = "return redis.call('GET',KEYS[1])==ARGV[1] and redis.call('DEL',KEYS[1])"


class Present(NamedTuple):
    """A worker that holds its lease, and what that says."""

    card: Card
    beat: Beat


class Board:
    """One process' way to a team's board. Thread-safe; making it does no IO. Calls raise `EdgeError`."""

    def __init__(self, redis_url: str, team: str) -> None:
        self._names = Names(team)
        self._link = RedisLink(redis_url, timeout_s=_TIMEOUT_S, client_name=f"loadgen-{team}")

    @property
    def address(self) -> str:
        """Redis' address, without credentials."""
        return self._link.address

    def close(self) -> None:
        """Let go of all connections."""
        self._link.close()

    # Leading.

    def lead(self, run: str, lease_s: float) -> bool:
        """Take the lead of the team for a run; False while another has it."""
        name = self._names.leader
        taken = self._link.call("SET", name, run, "NX", "PX", _ms(lease_s))
        # The first answer to a call that was sent twice may have been lost.
        return taken is not None or self.leader() == run

    def renew_lead(self, run: str, lease_s: float) -> bool:
        """Keep the lead; False when it was lost."""
        return bool(self._link.call("EVAL", _RENEW, 1, self._names.leader, run, _ms(lease_s)))

    def end(self, run: str) -> None:
        """Give the lead back and forget the answers."""
        self._link.call("EVAL", _RELEASE, 1, self._names.leader, run)
        self._link.call("DEL", self._names.answers(run))

    def leader(self) -> str:
        """Return the run that leads now; empty when there is none."""
        return _text(self._link.call("GET", self._names.leader))

    # Working.

    def join(self, card: Card, lease_s: float) -> None:
        """Put a worker's card up, with its first beat."""
        self.beat(card.worker, Beat(), lease_s)
        self._link.call("HSET", self._names.workers, card.worker, pack(card))

    def beat(self, worker: str, beat: Beat, lease_s: float) -> None:
        """Renew a worker's lease."""
        self._link.call("SET", self._names.lease(worker), pack(beat), "PX", _ms(lease_s))

    def leave(self, worker: str) -> None:
        """Take a worker's card down: whoever waits for it is told at once."""
        self._link.call("DEL", self._names.lease(worker), self._names.orders(worker))
        self._link.call("HDEL", self._names.workers, worker)

    def present(self) -> list[Present]:
        """Return who holds a lease, by name; forget the cards of those who do not."""
        found: list[Any] = _pairs(self._link.call("HGETALL", self._names.workers))
        cards = sorted((unpack(card, Card) for _, card in found), key=lambda one: one.worker)
        beats = self.beats([card.worker for card in cards])
        gone = [card.worker for card, beat in zip(cards, beats, strict=True) if beat is None]
        if gone:
            self._link.call("HDEL", self._names.workers, *gone)
        return [
            Present(card, beat) for card, beat in zip(cards, beats, strict=True) if beat is not None
        ]

    def beats(self, workers: Sequence[str]) -> list[Beat | None]:
        """Return what the workers' leases say, None for one that has run out."""
        if not workers:
            return []
        found = self._link.call("MGET", *[self._names.lease(worker) for worker in workers])
        return [None if one is None else unpack(one, Beat) for one in found]

    # Orders and answers.

    def order(self, worker: str, order: Order) -> None:
        """Tell a worker what to do."""
        self._append(self._names.orders(worker), order)

    def orders(self, worker: str, since: str, wait_s: float) -> tuple[list[Order], str]:
        """Return a worker's orders behind a place, and the place behind them; waits for the first."""
        return self._read(self._names.orders(worker), Order, since, wait_s)

    def answer(self, run: str, answer: Answer) -> None:
        """Tell the leader of a run what became of an order."""
        self._append(self._names.answers(run), answer)

    def answers(self, run: str, since: str, wait_s: float) -> tuple[list[Answer], str]:
        """Return answers behind a place, and the place behind them; waits for the first."""
        return self._read(self._names.answers(run), Answer, since, wait_s)

    def take_revisions(self, shape: str, count: int) -> int:
        """Hand out revisions of a fleet of this shape that nobody had; return the first.

        Raises `ConfigError` when the team has filled a fleet of another shape: its records would be
        taken for this one's.
        """
        name = self._names.fleet
        self._link.call("HSETNX", name, "shape", shape)
        there = _text(self._link.call("HGET", name, "shape"))
        if there != shape:
            fault = Fault("fleet", shape, f"this team's is {there}")
            raise ConfigError("a team works on one fleet: name another team and clusters", [fault])
        # Sent twice, it only skips some.
        highest = int(self._link.call("HINCRBY", name, "revision", count))
        return highest - count + 1

    def time_us(self) -> int:
        """Return the time by the server's clock, in microseconds since 1970."""
        return self._link.time_us()

    def _append(self, stream: str, message: Order | Answer) -> None:
        self._link.call("XADD", stream, "MAXLEN", "~", _STREAM_MAX, "*", _FIELD, pack(message))
        self._link.call("PEXPIRE", stream, _STREAM_KEPT_MS)

    def _read(
        self, stream: str, kind: type[Told], since: str, wait_s: float
    ) -> tuple[list[Told], str]:
        command = ("XREAD", "COUNT", _READ_MAX, "BLOCK", _ms(wait_s), "STREAMS", stream, since)
        answer = self._link.call(*command, timeout_s=wait_s)
        found: list[Told] = []
        for place, fields in _entries(answer):
            since = _text(place)
            found.append(unpack(dict(_pairs(fields))[_FIELD], kind))
        return found, since


def _entries(answer: Any) -> list[Any]:
    """Return the entries of the one stream that was asked for: none, or [place, fields] each.

    Redis answers with a list of pairs, or in its newer protocol with a map.
    """
    if not answer:
        return []
    streams = list(answer.values()) if isinstance(answer, dict) else [one[1] for one in answer]
    if len(streams) != 1:
        raise EdgeError(
            f"Redis answered for {len(streams)} streams instead of one", retryable=False
        )
    entries: list[Any] = streams[0]
    return entries


def _pairs(answer: Any) -> list[Any]:
    """Return names and values, however the client gives them."""
    if isinstance(answer, dict):
        return list(answer.items())
    return list(itertools.pairwise(answer))[::2]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode() if isinstance(value, bytes) else str(value)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1_000))

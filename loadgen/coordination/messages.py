"""What leader and workers tell each other, and the names in Redis under which they do. Pure.

The rule: everything is told by appending to a stream that is read from a remembered place, so that
asking or telling twice, after a broken connection, changes nothing: orders and answers are numbered.

    {sblg}:<team>:leader            string the run that leads the team now; it expires
    {sblg}:<team>:workers           hash   worker -> its card
    {sblg}:<team>:lease:<worker>    string its beat: what it does; it expires
    {sblg}:<team>:orders:<worker>   stream orders
    {sblg}:<team>:answers:<run>     stream answers of all workers
    {sblg}:<team>:fleet             hash   shape (of the fleet that was filled), revision (the highest)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from southbound.errors import WireError

PREFIX = "{sblg}:"

BEGIN = "!begin"
"""Order to make a hand: its one argument is the role."""
END = "!end"
"""Order to close the hand; it has no answer."""


class Names(NamedTuple):
    """The names of one team in Redis."""

    team: str

    @property
    def leader(self) -> str:
        """Who leads."""
        return f"{PREFIX}{self.team}:leader"

    @property
    def workers(self) -> str:
        """Who has joined."""
        return f"{PREFIX}{self.team}:workers"

    def lease(self, worker: str) -> str:
        """That a worker lives."""
        return f"{PREFIX}{self.team}:lease:{worker}"

    def orders(self, worker: str) -> str:
        """What a worker is told to do."""
        return f"{PREFIX}{self.team}:orders:{worker}"

    @property
    def fleet(self) -> str:
        """Which fleet the team works on."""
        return f"{PREFIX}{self.team}:fleet"

    def answers(self, run: str) -> str:
        """What became of the orders of a run."""
        return f"{PREFIX}{self.team}:answers:{run}"


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Who a worker is. `machine`: the name of its host; `version`: of this software."""

    worker: str
    machine: str
    pid: int
    cores: int
    version: str

    def __str__(self) -> str:
        return f"{self.worker} (process {self.pid} on {self.machine})"


class Beat(msgspec.Struct, frozen=True):
    """What a worker's lease says: the run it works for, empty when none, and how far it is."""

    run: str = ""
    doing: str = ""


class Order(msgspec.Struct, frozen=True):
    """One call of a hand's method. Numbers rise within a run."""

    run: str
    number: int
    what: str
    arguments: tuple[Any, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """What became of an order. `words`: why it failed; empty when it did not."""

    number: int
    worker: str
    result: Any = None
    words: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoders = {kind: msgspec.msgpack.Decoder(kind) for kind in (Card, Beat, Order, Answer)}

Message = Card | Beat | Order | Answer


def pack(message: Message) -> bytes:
    """Return a message as msgpack. Raises `TypeError` for arguments or results that it cannot carry."""
    return _encoder.encode(message)


def unpack(data: bytes, kind: type[Any]) -> Any:
    """Read a message of a kind. Raises `WireError` when it is none."""
    try:
        return _decoders[kind].decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError(f"not a message of the load generator: {error}") from error

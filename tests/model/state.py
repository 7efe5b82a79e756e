"""What the model's states are made of, what is explored, and which bugs can be planted.

One scope, one resource; revision i is written by publisher i. Each slot lies in a cluster of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from southbound.partitioning.handover import Kind, Step
from tests.model.reader import Log, Place, Reader, Record

POOLS = "abc"
"""Names of the slots: pools of one slot each."""

Step_ = tuple[str, "State"]
"""A step that can be taken: what it is called, and the state after it."""


class Fault(StrEnum):
    """A planted bug."""

    NO_FENCE = "no fence"
    REDIS_FENCE = "a fence that reads Redis"
    MARKER_FIRST = "the marker before leaving, and the delta up to it"
    NO_DELTA = "no delta"
    NO_MEND = "inversions are not mended"
    NO_SEAL = "a snapshot is called complete without its seal"
    FROM_ZERO = "a stream is read from 0 after a return"
    LATE_CLEANING = "an earlier stay is cleaned after a return"
    MOVES_FIRST = "sb.moves before the journal"
    NO_ADOPTION = "an offset noted anew beats the decided one"
    DROPPED = "a move is abandoned by dropping its record"
    UNSEALED_SOURCE = "copying from a slot that is not sealed"
    DELTA_TO_M = "the delta ends at the end that was noted"
    UNANSWERED_NULL = "a null behind what was copied is not answered by mending"
    END_FIRST = "the end is noted before leaving, and the delta goes up to it"
    NO_FORWARDING = "a replica is removed without a marker"
    SLOW_SNAPSHOT = "a snapshot is read for longer than the compaction lag"


class Row(NamedTuple):
    """A row of the directory: an epoch, and the places, the home first."""

    epoch: int
    places: tuple[Place, ...]


Stop = tuple[int, int]
"""A slot, and the epoch at which the stream came there."""

NEW, SENDING, ACCEPTED, DEAD = range(4)


class Sender(NamedTuple):
    """A publisher of one revision: what it believes in, what it has to send to, where it has sent."""

    status: int = NEW
    row: Row | None = None
    todo: tuple[Stop, ...] = ()
    sent: tuple[Stop, ...] = ()


class Hand(NamedTuple):
    """An executor: the record that it has stored last, the one that it has made since, and how far
    it is in its action.

    `phase`: 0, about to begin; 1, it has read and is about to append `ready`; 2, it is about to
    store `record`.
    """

    base: int
    record: int
    phase: int = 0
    ready: int = 0


class Left(NamedTuple):
    """How many of each mishap may still come.

    A publisher dies; an executor is overtaken (and sleeps for ever, or goes on); a record falls back
    to any that was stored before it; a move is abandoned; a slot is compacted; an agent reads its
    stream anew; a settled delete and everything before it is forgotten; a move is planned while the
    one before it is at work.
    """

    deaths: int = 0
    takeovers: int = 0
    fallbacks: int = 0
    abandons: int = 0
    compactions: int = 0
    resyncs: int = 0
    burials: int = 0
    early: int = 0


class State(NamedTuple):
    """Everything. `moves`: the highest entry of each cluster's `sb.moves`. `journal`: what was
    decided. `stored`: the record of each move begun. `due`: the slot in which an earlier stay is to
    be cleaned, -1 when there is none.
    """

    logs: tuple[Log, ...]
    moves: tuple[Row | None, ...]
    journal: tuple[Row, ...]
    senders: tuple[Sender, ...]
    stored: tuple[int, ...]
    hands: tuple[Hand, ...]
    left: Left
    agents: tuple[Reader, ...]
    due: int = -1


class Trip(NamedTuple):
    """A move that is to be made: from which slot to which; -1 where there is none."""

    kind: Kind
    old: int
    new: int


@dataclass(frozen=True)
class Bounds:
    """What is explored.

    `vpc`: whether the scope is a VPC; then `replicas` names its slots at the beginning, the home
    first. `lazy`: agents read one record at a time, at any time, instead of at once. `agents`: the
    slots of agents that are there from the beginning; `fresh`: how many begin with nothing, at any
    time. `in_turn`: a publisher begins when those before it have ended. `deletes`: which revisions
    are deletes. `cleaning`: whether a janitor cleans earlier stays; `clearing`: whether whoever
    reserves clears the new slot of what is left of one. `storing`: after which steps an
    executor stores its record; one that lags is one that has fallen back.
    """

    trips: tuple[Trip, ...]
    senders: int = 2
    vpc: bool = False
    replicas: tuple[int, ...] = (0,)
    slots: int = 2
    lazy: bool = False
    agents: tuple[int, ...] = (0,)
    fresh: int = 0
    in_turn: bool = False
    deletes: frozenset[int] = frozenset()
    cleaning: bool = False
    clearing: bool = False
    left: Left = field(default_factory=Left)
    storing: frozenset[Step] = frozenset(Step)


def appended(logs: tuple[Log, ...], slot: int, record: Record) -> tuple[Log, ...]:
    """Return the logs with one record more."""
    return (*logs[:slot], (*logs[slot], record), *logs[slot + 1 :])

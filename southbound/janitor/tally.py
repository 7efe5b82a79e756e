"""What a janitor has done and seen, as plain counts.

The rule: counts only rise; what is at this moment, and not since the start, is in `Stand`. Everything
has one name, in the table of `janitor run --once` as in the metrics.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from southbound.janitor.books import Odd
from southbound.janitor.judging import Why
from southbound.resources import ScopeClass

MENDED_JOURNAL = "journal"
MENDED_MOVES = "moves"
PRUNED_MOVES = "moves_pruned"


@dataclass(slots=True)
class Tally:
    """Counts since the start.

    `repairs`: records appended to slots, by reason. `entries`: entries appended to `sb.directory`
    and `sb.moves`, and pruned there. `abandoned`: changesets whose records never all came, by class.
    `slots_looked`: slots read as a whole; `slots_glanced`: read from where they had been left.
    `slots_unfinished`: those that were not found in order within a few rounds, or whose cluster did
    not answer; they are looked at again. `lost`: records that were gone before they were repeated.
    `quarantined`: records of `sb.directory` and `sb.moves` that could not be read.
    """

    repairs: Counter[Why] = field(default_factory=Counter)
    entries: Counter[str] = field(default_factory=Counter)
    abandoned: Counter[ScopeClass] = field(default_factory=Counter)
    sweeps: int = 0
    failures: int = 0
    records_read: int = 0
    slots_looked: int = 0
    slots_glanced: int = 0
    slots_unfinished: int = 0
    lost: int = 0
    quarantined: int = 0


@dataclass(slots=True)
class Stand:
    """How it stands. `slots`: how many are its share. `odd`: what is left alone in them.

    `began_us`: when the last sweep began that went through everything; `sweep_s`: how long it took.
    `troubles`: what kept the last sweep from anything.
    """

    slots: int = 0
    odd: Odd = field(default_factory=Odd)
    began_us: int = 0
    sweep_s: float = 0.0
    troubles: tuple[str, ...] = ()

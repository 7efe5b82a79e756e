"""What one sweep has done and seen, for people.

The rule: every count is told, those that are 0 too: an operator looks for what is not there.
"""

from __future__ import annotations

from typing import NamedTuple

from southbound.janitor.judging import Why
from southbound.janitor.tally import (
    MENDED_JOURNAL,
    MENDED_MOVES,
    PRUNED_MOVES,
    Stand,
    Tally,
)
from southbound.resources import ScopeClass

_REASONS = {
    Why.INVERSION: "highest revisions appended behind lower ones",
    Why.ANSWER: "records appended behind tombstones that came too late",
    Why.TOMBSTONE: "tombstones behind deletes that had their time",
    Why.CLEAN: "tombstones for records of scopes that have left",
    Why.OUTDATED: "tombstones for markers and seals of earlier stays",
}


class Line(NamedTuple):
    """One count and what it means."""

    what: str
    done: int
    meaning: str


def lines_of(tally: Tally, stand: Stand) -> list[Line]:
    """Return what there is to tell."""
    return [
        *(Line(why.value, tally.repairs[why], text) for why, text in _REASONS.items()),
        Line("journal", tally.entries[MENDED_JOURNAL], "entries of sb.directory mended"),
        Line("moves", tally.entries[MENDED_MOVES], "entries of sb.moves mended"),
        Line("moves pruned", tally.entries[PRUNED_MOVES], "entries of sb.moves let go"),
        *(
            Line(f"abandoned, {cls.value}", tally.abandoned[cls], "changesets never completed")
            for cls in (ScopeClass.HOST, ScopeClass.VPC)
        ),
        Line("unfinished", tally.slots_unfinished, "slots to be looked at again"),
        Line("unreadable", stand.odd.unreadable, "keys left alone: a record cannot be read"),
        Line("stray", stand.odd.strays, "scopes away whose records cannot go yet"),
        Line("unknown", stand.odd.unknown, "scopes left alone: no journal knows them"),
        Line("lost", tally.lost, "records gone before they were repeated"),
        Line("quarantined", tally.quarantined, "records of sb.directory and sb.moves unread"),
        Line("slots", stand.slots, "slots of the share"),
        Line("slots read", tally.slots_looked, "slots that held anything"),
        Line("records read", tally.records_read, "records in them"),
    ]

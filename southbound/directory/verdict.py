"""Which entry of the journal holds for a key. Pure.

The rule, the same for every reader, whatever part of the journal it has read and however far
compaction has thinned it:

* the highest epoch holds;
* among equal epochs a `mended` entry holds (the last of them, as compaction keeps the last: those
  who mend have all seen the same first entry);
* else the first.

Compaction keeps the *last* record of a key. So the last record must be the one that holds: whoever
reads a part of the journal in which it is not, appends the holder again, mended, before Redis is
told that this part was read (docs/decisions/0007-the-journal-decides.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from southbound.wire.control import JournalEntry


class Held(NamedTuple):
    """What holds for a key. For a public resource the epoch is 1 and the row its partition."""

    epoch: int
    row: str


def better(held: Held | None, entry: JournalEntry) -> Held:
    """Return what holds after `entry`, which stands behind everything that `held` was made from."""
    if held is None or entry.epoch > held.epoch or (entry.epoch == held.epoch and entry.mended):
        return Held(entry.epoch, entry.row)
    return held


class Verdict(NamedTuple):
    """What holds for each key that a part of the journal names, and which of them need mending."""

    held: dict[str, Held]
    mend: dict[str, Held]


def judge(before: Mapping[str, Held], entries: Iterable[tuple[str, JournalEntry]]) -> Verdict:
    """Judge a part of the journal, in its order, over what held before it."""
    held: dict[str, Held] = {}
    last: dict[str, Held] = {}
    for text, entry in entries:
        held[text] = better(held.get(text) or before.get(text), entry)
        last[text] = Held(entry.epoch, entry.row)
    mend = {text: held[text] for text, final in last.items() if final != held[text]}
    return Verdict(held, mend)

"""What must be appended to `sb.moves` so that its last entry of a scope is the highest. Pure.

The rule: the highest epoch counts, and those of one epoch say the same. Where a lower one came
behind it, the highest is appended again. A null says that an entry was pruned; behind one that was
young then, it is not believed by any fence, and the entry is appended again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from southbound.wire.control import NULL_BELIEVED_US, MoveEntry


class Entry(NamedTuple):
    """What `sb.moves` of a cluster says of a scope; `written_us`: since when, since 1970."""

    epoch: int
    row: str
    written_us: int


class WrittenMove(NamedTuple):
    """One record of `sb.moves`; `entry` is None for a null. `at_us`: when the log took it."""

    text: str
    entry: MoveEntry | None
    at_us: int


def judge_moves(
    before: Mapping[str, Entry], written: Iterable[WrittenMove]
) -> tuple[dict[str, Entry | None], dict[str, Entry]]:
    """Judge a part of `sb.moves` over what was there before it.

    Returns what each text then says (None: pruned), and what must be appended again.
    """
    after: dict[str, Entry | None] = {}
    again: set[str] = set()
    for text, entry, at_us in written:
        held = after[text] if text in after else before.get(text)
        if entry is None:
            is_pruned = held is None or held.written_us + NULL_BELIEVED_US <= at_us
            after[text] = None if is_pruned else held
            _set(again, text, wanted=not is_pruned)
        elif held is None or entry.epoch >= held.epoch:
            after[text] = Entry(entry.epoch, entry.row, entry.written_us)
            _set(again, text, wanted=False)
        else:
            after[text] = held
            _set(again, text, wanted=True)
    return after, {text: held for text in again if (held := after[text]) is not None}


def _set(texts: set[str], text: str, *, wanted: bool) -> None:
    if wanted:
        texts.add(text)
    else:
        texts.discard(text)

"""The hash that both sides share.

The rule: this mapping must give the same answer for ever, in every language, since a publisher and
an agent meet only through it. The formula is that of docs/design.md §3:

    digest    = murmur3_x64_128(utf8(class + 0x1f + id), seed = probe)
    topic     = little-endian u64 of digest[0:8]  mod topics
    partition = little-endian u64 of digest[8:16] mod partitions
"""

from __future__ import annotations

from typing import NamedTuple

import mmh3

PROBES_MAX = 16
_MASK = (1 << 64) - 1


class Slot(NamedTuple):
    """One partition of one topic of a pool; both count from 0."""

    topic: int
    partition: int


def slot_of(cls: str, id: str, *, probe: int, topics: int, partitions: int) -> Slot:
    """Return the slot of a host or VPC for one probe in a pool of `topics` x `partitions`.

    `cls` is `host` or `vpc`; `probe` is 0 to 15; `topics` and `partitions` are at least 1.
    """
    first, second = mmh3.hash64(f"{cls}\x1f{id}".encode(), probe, True, signed=False)
    return Slot(first % topics, second % partitions)


def spread(key: str, bins: int) -> int:
    """Return a stable bin in 0..bins-1 for a key, for choices that are not slots (such as buckets)."""
    digest: int = mmh3.hash128(key.encode(), 0, True, signed=False)
    return (digest & _MASK) % bins

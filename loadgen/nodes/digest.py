"""What stands applied on a node, as one number. Pure.

The rule: a digest is the sum, modulo 2^64, of one 64-bit hash for each resource that stands, taken
over its record key (which holds class, scope, kind and id), its revision and the bytes of its spec.
A sum does not know in which order its parts came, a part can be taken out again, and digests of
scopes add up to that of a node, so each is kept up to date for one addition per change.

Against accidents, not against forgery: two different states agree by chance once in 2^64.
"""

from __future__ import annotations

from collections.abc import Iterable

import mmh3

MASK = (1 << 64) - 1


def hash_of(key: bytes, revision: int, spec: bytes) -> int:
    """Return the part of one resource: its record key, its revision, and its spec as carried."""
    low, _ = mmh3.hash64(b"%b\0%d\0%b" % (key, revision, spec), 0, True, signed=False)
    return low


def digest_of(parts: Iterable[int]) -> int:
    """Return the digest of what consists of these parts: hashes, or digests of scopes."""
    return sum(parts) & MASK

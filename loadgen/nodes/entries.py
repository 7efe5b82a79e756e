"""One resource's state on a compact node, in one integer. Pure.

The rule: a node's table maps the rest of a record key to a whole number, and nothing else is kept
for a resource. From the lowest bit: 64 bits of hash (`digest.hash_of`; 0 for a delete), one bit that
says delete, one that says parked, 32 bits of which VPC a port names (0: none), then the revision.
"""

from __future__ import annotations

HASH = (1 << 64) - 1
DELETE = 1 << 64
PARKED = 1 << 65
ABSENT = DELETE | PARKED
"""Who refers to an entry with one of these does not find it."""

VPC_SHIFT = 66
VPC_MASK = (1 << 32) - 1
VPC_BITS = VPC_MASK << VPC_SHIFT
REVISION_SHIFT = 98


def upsert(revision: int, hash_: int, vpc: int = 0) -> int:
    """Return the entry of a resource that is to be there."""
    return revision << REVISION_SHIFT | vpc << VPC_SHIFT | hash_


def delete(revision: int) -> int:
    """Return the entry of a resource that was deleted."""
    return revision << REVISION_SHIFT | DELETE


def vpc_in(entry: int) -> int:
    """Return the number of the VPC that a port's entry names; 0 for none, and for a delete."""
    return entry >> VPC_SHIFT & VPC_MASK

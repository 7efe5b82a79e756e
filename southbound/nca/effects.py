"""What the core asks for, as frozen structs. Pure.

The rule: the effects of one step are performed in the order of the list, which is always:

1. `Persist`: nothing else of the step is done before it has succeeded; while it fails it is tried
   again, and no further event is fed.
2. `Apply`: at most one; its answer (`Applied`) is the next event that the core gets.
3. `Send` and `Announce`: handed over to Kafka; the answer (`Settled`) comes later.
4. `Assign`, `Resolve`: may fail, and are then tried again by whoever performs them.

So a node never runs ahead of what its agent remembers, and a report never runs ahead of the node.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from southbound.nca.plan import Plan
from southbound.nca.state import Transaction
from southbound.partitioning.placement import Address
from southbound.wire.reports import Inventory, ReportEntry


class Persist(msgspec.Struct, frozen=True):
    """Write the transaction, as a whole or not at all, before any later effect of this step."""

    transaction: Transaction


class Apply(msgspec.Struct, frozen=True):
    """Hand the plan to the applier, then feed `Applied` before any other event."""

    plan: Plan


class Send(msgspec.Struct, frozen=True):
    """Send a report to the status topic of `cluster`; feed `Settled` with `seq` when acknowledged.

    `inventory`: it is a part of all that stands, and no news.
    """

    seq: int
    cluster: str
    entries: tuple[ReportEntry, ...]
    inventory: Inventory | None = None


class Announce(msgspec.Struct, frozen=True):
    """Say on the interest topic of `cluster` that this host follows the VPC, or has left it."""

    seq: int
    cluster: str
    vpc: str
    present: bool
    since_us: int


class Assign(msgspec.Struct, frozen=True):
    """What is to be read has changed. Ask the watermarks that the core's `assignment()` names, feed
    `Marked`, then read what `assignment()` says now: positions move on while an attempt fails.
    """


class Resolve(msgspec.Struct, frozen=True):
    """Ask the directory for the topology, this host's placement and those of some VPCs."""

    vpcs: tuple[str, ...] = ()


class Assignment(msgspec.Struct, frozen=True):
    """What is to be read, and from where. `marks`: partitions whose watermarks are to be asked.

    `leader_epochs`: of the records right before positions, where they are known: a broker tells by
    them whether what was read up to there is still in its log.
    """

    positions: Mapping[Address, int]
    marks: frozenset[Address] = frozenset()
    leader_epochs: Mapping[Address, int] = {}


Effect = Persist | Apply | Send | Announce | Assign | Resolve

"""What all streams of one hall count together. Pure.

The rule: nodes keep nothing that can be counted for all of them at once; whoever asks for one node's
counts gives that node's stream a tally of its own. Every list here is emptied by the hall after each
batch, so none grows past what one batch leaves in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadgen.nodes.compact import CompactNode, Home, VpcStream
    from loadgen.nodes.stream import Stream
    from southbound.partitioning.placement import Placement


class Limits:
    """The agent's limits that a compact node keeps too, in microseconds and records.

    Defaults are those of `southbound.settings.AgentSettings`.
    """

    __slots__ = ("grace_us", "held_max", "hold_us")

    def __init__(
        self, hold_us: int = 30_000_000, grace_us: int = 30_000_000, held_max: int = 100_000
    ) -> None:
        self.hold_us = hold_us
        self.grace_us = grace_us
        self.held_max = held_max


class Tally:
    """Counts, and what the hall has to look after: moved streams, open changesets, left VPCs.

    `holders`: streams with open changesets. `moves`: streams whose marker was read, and where they go on.
    `leaving`: VPCs (by number) without a port, with the time until which they are kept. `apart`: nodes
    that need a stream of a VPC for themselves; `fresh`: streams that are not read yet, by cluster.
    `spans`: microseconds from the intended send to the moment a change stood, once for each change
    of a host; `wide_spans`: the same of VPCs, with the number of nodes that follow. `step` gathers
    what one step brings to watched nodes: (rest of the key, entry, changeset).
    """

    __slots__ = (
        "abandoned",
        "apart",
        "applied",
        "conflicting",
        "equal",
        "fresh",
        "handovers",
        "holders",
        "ignored",
        "leaving",
        "limits",
        "moves",
        "older",
        "quarantined",
        "released",
        "removed",
        "snapshots",
        "spans",
        "step",
        "wide_spans",
    )

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.applied = self.older = self.equal = self.conflicting = 0
        self.quarantined = self.ignored = self.handovers = 0
        self.released = self.abandoned = self.removed = self.snapshots = 0
        self.holders: set[Stream] = set()
        self.moves: list[tuple[Stream, Placement]] = []
        self.leaving: dict[tuple[CompactNode, int], int] = {}
        self.apart: list[tuple[CompactNode, VpcStream]] = []
        self.fresh: list[tuple[Home, VpcStream]] = []
        self.spans: list[int] = []
        self.wide_spans: list[tuple[int, int]] = []
        self.step: list[tuple[bytes, int, str]] = []

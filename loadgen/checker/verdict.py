"""What a checker concludes: how many of each fault, a few of them by name, and how fast it went. Pure.

The rule: a verdict is clean only when every kind of fault was looked for and none was found, and
nothing that it needed was missing. Samples are bounded; counts are not.
"""

from __future__ import annotations

import enum
from collections import Counter

import msgspec

from loadgen.checker.histogram import Histogram, Summary


class Fault(enum.StrEnum):
    """What can be wrong with a node.

    `LOST`: an accepted revision does not stand, and no higher one. `FOREIGN`: something that is not
    for this node was applied. `BACKWARDS`: a revision below one that stood before was applied.
    `DUPLICATE`: a revision was applied again, with an effect. `PARTIAL`: one part of a changeset
    stood while another did not. `RESURRECTED`: what was deleted came back by an older revision.
    `UNDELETED`: an accepted delete was not carried out. `UNPUBLISHED`: what was applied was never
    published, or not with this content. `UNCONVERGED`: an accepted changeset never stood as a whole
    on a node that must have it. `DIVERGED`: a node's digest is not the expected one. `ABSENT`: a
    node that should have been there was not. `INCOMPLETE`: a history ends too early to judge.
    """

    LOST = "lost"
    FOREIGN = "foreign"
    BACKWARDS = "backwards"
    DUPLICATE = "duplicate"
    PARTIAL = "partial"
    RESURRECTED = "resurrected"
    UNDELETED = "undeleted"
    UNPUBLISHED = "unpublished"
    UNCONVERGED = "unconverged"
    DIVERGED = "diverged"
    ABSENT = "absent"
    INCOMPLETE = "incomplete"


class Sample(msgspec.Struct, frozen=True):
    """One fault: which node, of what (a record key with `/` for its separator), and in words."""

    fault: Fault
    node: str
    key: str
    detail: str


class Amplification(msgspec.Struct):
    """Records read and, of them, the reader's own."""

    read: int = 0
    own: int = 0

    @property
    def ratio(self) -> float:
        """Records read for each that was needed; 0 when none was."""
        return self.read / self.own if self.own else 0.0


class Verdict:
    """A judgement of one history, or of several: `merge` adds them up.

    `nodes`: how many were judged; `in_full`: how many of them by their history rather than by a
    digest. `changesets`: how many accepted ones. `convergence`: microseconds from the intended time
    of sending to the step with which a changeset stood on a node, once for each node that had to
    have it.
    """

    def __init__(self, samples_max: int = 20) -> None:
        self.counts: Counter[Fault] = Counter()
        self.samples: list[Sample] = []
        self.nodes = 0
        self.in_full = 0
        self.changesets = 0
        self.host = Amplification()
        self.vpc = Amplification()
        self.convergence = Histogram()
        self._samples_max = samples_max

    @property
    def clean(self) -> bool:
        """Whether something was judged and nothing was wrong."""
        return self.nodes > 0 and not self.counts

    def find(self, fault: Fault, node: str, key: bytes = b"", detail: str = "") -> None:
        """Note a fault."""
        self.counts[fault] += 1
        if self.counts[fault] <= self._samples_max:
            shown = key.decode(errors="replace").replace("\x1f", "/")
            self.samples.append(Sample(fault, node, shown, detail))

    def merge(self, other: Verdict) -> None:
        """Add what another verdict found."""
        for sample in other.samples:
            held = sum(one.fault is sample.fault for one in self.samples)
            if held < self._samples_max:
                self.samples.append(sample)
        self.counts.update(other.counts)
        self.nodes += other.nodes
        self.in_full += other.in_full
        self.changesets += other.changesets
        for mine, theirs in ((self.host, other.host), (self.vpc, other.vpc)):
            mine.read += theirs.read
            mine.own += theirs.own
        self.convergence.merge(other.convergence)

    def document(self) -> VerdictDocument:
        """Return it as plain data."""
        return VerdictDocument(
            clean=self.clean,
            nodes=self.nodes,
            in_full=self.in_full,
            changesets=self.changesets,
            faults={fault.value: count for fault, count in sorted(self.counts.items())},
            samples=self.samples,
            host_amplification=self.host.ratio,
            vpc_amplification=self.vpc.ratio,
            convergence_us=self.convergence.summary(),
        )


class VerdictDocument(msgspec.Struct, frozen=True):
    """A verdict for a report."""

    clean: bool
    nodes: int
    in_full: int
    changesets: int
    faults: dict[str, int]
    samples: list[Sample]
    host_amplification: float
    vpc_amplification: float
    convergence_us: Summary

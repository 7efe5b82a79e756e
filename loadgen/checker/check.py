"""Judges histories: per node, exactly the published state, and every step towards it. Pure.

The rule: the checker knows what was published and accepted, and what each node says that it did; it
knows nothing of slots, offsets, snapshots or agents, so nothing that they believe can mislead it.

A history is gone through twice: for what was published, then for what was done with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from loadgen.checker.expected import Expected, host_prefix, prefix_of
from loadgen.checker.verdict import Fault, Verdict
from loadgen.histories.events import (
    Accepted,
    Applied,
    Effect,
    Event,
    Joined,
    Left,
    Line,
    Published,
    Read,
    Truncated,
)


def check(events: Iterable[Event], *, samples_max: int = 20) -> Verdict:
    """Return the verdict over a history that can be gone through twice (a list, `Histories`).

    A publication or an effect may stand anywhere in it; the events of one node in their order.
    """
    verdict = Verdict(samples_max)
    expected = Expected()
    for event in events:
        match event:
            case Published():
                expected.take(event)
            case Accepted():
                expected.accepted.add(event.changeset)
            case Truncated():
                verdict.find(Fault.INCOMPLETE, "", detail=event.why)
            case Read():
                verdict.host.read += event.host_read
                verdict.host.own += event.host_own
                verdict.vpc.read += event.vpc_read
                verdict.vpc.own += event.vpc_own
    expected.conclude()
    nodes: dict[str, _Node] = {}
    for event in events:
        if isinstance(event, Joined | Applied | Left):
            node = nodes.get(event.node)
            if node is None:
                node = nodes[event.node] = _Node(event.node, expected, verdict)
            node.take(event)
    for node in nodes.values():
        node.conclude()
    verdict.nodes = verdict.in_full = len(nodes)
    verdict.changesets = len(expected.accepted)
    return verdict


def check_digests(
    expected: Mapping[str, int], found: Mapping[str, int], *, samples_max: int = 20
) -> Verdict:
    """Return the verdict over digests by node, where there are too many nodes for histories."""
    verdict = Verdict(samples_max)
    verdict.nodes = len(expected)
    for node, digest in expected.items():
        stands = found.get(node)
        if stands is None:
            verdict.find(Fault.ABSENT, node)
        elif stands != digest:
            verdict.find(Fault.DIVERGED, node, detail=f"{stands:016x} instead of {digest:016x}")
    for node in found.keys() - expected.keys():
        verdict.find(Fault.FOREIGN, node, detail="nobody expects this node")
    return verdict


class _Node:
    """One node, as its effects tell.

    `stands` maps keys to what stands; `deleted` to the revisions at which they were deleted; `seen`
    to the revisions that ever stood; `open` to the changesets that are not yet whole here.
    """

    def __init__(self, name: str, expected: Expected, verdict: Verdict) -> None:
        self._name = name
        self._expected = expected
        self._verdict = verdict
        self._own = host_prefix(name)
        self._stands: dict[bytes, Effect] = {}
        self._deleted: dict[bytes, int] = {}
        self._seen: defaultdict[bytes, set[int]] = defaultdict(set)
        self._converged: set[str] = set()
        self._partial: set[str] = set()

    def take(self, event: Joined | Applied | Left) -> None:
        """Take what happened to it next."""
        if isinstance(event, Applied):
            for effect in event.effects:
                self._effect(effect)
            for id in {effect.changeset for effect in event.effects if effect.changeset}:
                self._look_at(id, event.at_us)
            return
        prefix = event.prefix if isinstance(event, Left) else b""
        self._forget(prefix)

    def conclude(self) -> None:
        """Judge how it ends."""
        needed = [self._own, *sorted(self._expected.vpcs_of(self._own))]
        for prefix in needed:
            for key in self._expected.keys_of(prefix):
                line = self._expected.highest(key)
                if line is not None:
                    self._judge_end(line)
        self._judge_convergence(needed)

    # Steps.

    def _effect(self, effect: Effect) -> None:
        key, revision = effect.key, effect.revision
        prefix = prefix_of(key)
        if prefix != self._own and prefix not in self._expected.vpcs_ever.get(self._own, ()):
            self._find(Fault.FOREIGN, key, f"revision {revision}")
        self._judge_content(effect)
        self._judge_order(effect)
        if effect.deleted:
            self._stands.pop(key, None)
            if effect.changeset:
                self._deleted[key] = max(revision, self._deleted.get(key, 0))
        else:
            self._stands[key] = effect
        self._seen[key].add(revision)

    def _judge_content(self, effect: Effect) -> None:
        if effect.deleted and not effect.changeset:
            # A snapshot did not speak of it, or its VPC is left: nobody has published that.
            return
        line = self._expected.lines.get(effect.key, {}).get(effect.revision)
        if line is None or line.deleted != effect.deleted or line.hash != effect.hash:
            what = "was never published" if line is None else "was published with other content"
            self._find(Fault.UNPUBLISHED, effect.key, f"revision {effect.revision} {what}")

    def _judge_order(self, effect: Effect) -> None:
        key, revision = effect.key, effect.revision
        held = self._stands.get(key)
        gone = self._deleted.get(key, 0)
        before = max(gone, held.revision if held is not None else 0)
        if not effect.changeset and before == revision:
            return
        if not effect.deleted and gone >= revision:
            self._find(Fault.RESURRECTED, key, f"revision {revision} after the delete {gone}")
        elif before > revision:
            self._find(Fault.BACKWARDS, key, f"from {before} to {revision}")
        elif before == revision or (effect.changeset and revision in self._seen[key]):
            self._find(Fault.DUPLICATE, key, f"revision {revision}")

    def _look_at(self, id: str, at_us: int) -> None:
        """See whether a changeset now stands as a whole, or in part."""
        changeset = self._expected.published.get(id)
        if changeset is None or id not in self._expected.accepted:
            return
        by_scope: defaultdict[bytes, list[Line]] = defaultdict(list)
        for line in changeset.lines:
            by_scope[prefix_of(line.key)].append(line)
        mine = self._mine()
        parts = [lines for prefix, lines in by_scope.items() if prefix in mine]
        for lines in parts:
            here = [line for line in lines if self._has(line) and line.key in self._seen]
            missing = [line for line in lines if not self._has(line) and not self._waits(line)]
            if here and missing and id not in self._partial:
                self._partial.add(id)
                detail = f"{len(here)} of {len(lines)} of changeset {id}"
                self._find(Fault.PARTIAL, missing[0].key, detail)
        if id not in self._converged and all(
            map(self._has, (one for part in parts for one in part))
        ):
            self._converged.add(id)
            self._verdict.convergence.add(at_us - changeset.at_us)

    def _has(self, line: Line) -> bool:
        """Tell whether things are as a line, or what came after it, wants them.

        What was never here needs no deleting, and a node need not say that it did.
        """
        held = self._stands.get(line.key)
        if held is not None:
            return held.revision >= line.revision
        return line.deleted or self._deleted.get(line.key, 0) >= line.revision

    def _waits(self, line: Line) -> bool:
        """Tell whether something that a line refers to is not there."""
        return any(need not in self._stands for need in line.needs)

    def _mine(self) -> set[bytes]:
        return {self._own, *self._expected.vpcs_ever.get(self._own, ())}

    def _forget(self, prefix: bytes) -> None:
        for key in [key for key in self._seen if key.startswith(prefix)]:
            del self._seen[key]
            self._stands.pop(key, None)
            self._deleted.pop(key, None)

    # The end.

    def _judge_end(self, line: Line) -> None:
        key = line.key
        held = self._stands.get(key)
        newer = [n for n in self._expected.lines[key] if n > line.revision]
        if line.deleted:
            if held is not None and held.revision < line.revision:
                detail = f"revision {held.revision} stands, {line.revision} deletes it"
                self._find(Fault.UNDELETED, key, detail)
            return
        if held is not None and held.revision >= line.revision:
            return
        if held is None and any(self._expected.lines[key][n].deleted for n in newer):
            return
        if self._expected.is_certain(line):
            stands = "nothing" if held is None else f"revision {held.revision}"
            self._find(Fault.LOST, key, f"{stands} stands instead of revision {line.revision}")

    def _judge_convergence(self, needed: list[bytes]) -> None:
        """Find changesets that had to stand here and never did, nor anything above them."""
        for prefix in needed:
            for id, lines in self._expected.parts_of(prefix):
                if id in self._converged:
                    continue
                for line in lines:
                    if not line.deleted and not self._has(line) and self._is_owed(line):
                        self._converged.add(id)
                        self._find(Fault.UNCONVERGED, line.key, f"changeset {id}")
                        break

    def _is_owed(self, line: Line) -> bool:
        highest = self._expected.highest(line.key)
        return highest is not None and not highest.deleted and self._expected.is_certain(highest)

    def _find(self, fault: Fault, key: bytes, detail: str) -> None:
        self._verdict.find(fault, self._name, key, detail)

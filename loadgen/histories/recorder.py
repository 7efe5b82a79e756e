"""Writes down what publishers are given, what they accept, and what watched nodes apply.

The rule: one lock around one file; events of one node are written in the order in which they
happened to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from loadgen.histories.events import Accepted, Applied, Effect, Event, Joined, Left, Read, published
from loadgen.histories.files import HistoryWriter
from loadgen.nodes.digest import digest_of, hash_of
from loadgen.nodes.entries import DELETE, HASH, REVISION_SHIFT
from loadgen.nodes.hall import Counts
from loadgen.nodes.stream import Landed, Stream, Watch
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.plan import Plan
from southbound.resources import Changeset, ResourceKey
from southbound.wire.envelope import encode_spec
from southbound.wire.keys import encode_key


class Recorder:
    """Writes one history. Thread-safe."""

    def __init__(self, writer: HistoryWriter) -> None:
        self._writer = writer
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open the file."""
        self._writer.open()

    def published(self, changeset: Changeset, at_us: int) -> None:
        """Note that a changeset was to be sent at that time."""
        self._add(published(changeset, at_us))

    def accepted(self, changeset: str, at_us: int) -> None:
        """Note that a changeset was accepted."""
        self._add(Accepted(changeset, at_us))

    def read(self, counts: Counts, at_us: int) -> None:
        """Note what a hall has read."""
        host, vpc = counts.host, counts.vpc
        self._add(Read(at_us, host.read, host.own, vpc.read, vpc.own))

    def joined(self, node: str, at_us: int) -> None:
        """Note that a node begins, with nothing."""
        self._add(Joined(node, at_us))

    def applied(self, step: Applied) -> None:
        """Note one step of a node."""
        self._add(step)

    def watch(self, node: str, at_us: int) -> Watch:
        """Return what writes down everything that a node applies, for `Hall.join`."""
        self._add(Joined(node, at_us))

        def note(stream: Stream, landed: Landed | None, now_us: int) -> None:
            self._add(
                Left(node, now_us, stream.prefix)
                if landed is None
                else applied(node, stream.prefix, landed, now_us)
            )

        return note

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._writer.close()

    def _add(self, event: Event) -> None:
        with self._lock:
            self._writer.add(event)


def applied(node: str, prefix: bytes, landed: Landed, now_us: int) -> Applied:
    """Return the event of one step of a compact node."""
    return Applied(
        node,
        now_us,
        tuple(
            Effect(
                prefix + suffix,
                entry >> REVISION_SHIFT,
                bool(entry & DELETE),
                0 if entry & DELETE else entry & HASH,
                changeset,
            )
            for suffix, entry, changeset in landed
        ),
    )


class RecordingApplier:
    """The applier of a real agent whose effects are written down beside those of simulated ones.

    It holds resources in memory. What it is asked for again and has already is no effect: an agent
    repeats what a stop may have kept from its node.
    """

    def __init__(self, node: str, recorder: Recorder) -> None:
        self._node = node
        self._recorder = recorder
        self._memory = MemoryApplier(plans_max=1)

    @property
    def digest(self) -> int:
        """The digest of what stands."""
        return digest_of(
            hash_of(encode_key(key), revision, encode_spec(spec))
            for key, (revision, spec) in tuple(self._memory.resources.items())
        )

    def open(self) -> None:
        """Begin, with nothing."""
        self._memory.open()
        self._recorder.joined(self._node, _now_us())

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Apply, and write down what has changed."""
        before = dict(self._memory.resources)
        changesets = {change.key: change.changeset for change in plan.changes}
        failed = self._memory.apply(plan)
        after = self._memory.resources
        deleted = {
            change.key: change.revision for change in plan.changes if change.key not in after
        }
        effects = [
            _effect(key, *after[key], changesets.get(key, ""))
            for key in after
            if before.get(key) != after[key]
        ]
        effects += [
            Effect(
                encode_key(key), deleted.get(key, before[key][0]), True, 0, changesets.get(key, "")
            )
            for key in before.keys() - after.keys()
        ]
        if effects:
            self._recorder.applied(Applied(self._node, _now_us(), tuple(effects)))
        return failed

    def close(self) -> None:
        """End."""
        self._memory.close()


def _effect(key: ResourceKey, revision: int, spec: Mapping[str, Any], changeset: str) -> Effect:
    wire_key = encode_key(key)
    hash_ = hash_of(wire_key, revision, encode_spec(spec))
    return Effect(wire_key, revision, False, hash_, changeset)


def _now_us() -> int:
    return time.time_ns() // 1_000

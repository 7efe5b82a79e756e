"""Reading a stream from its start until the state is whole. Pure.

The rule: nothing of a snapshot reaches the node before its end has been read; then all of it does,
as one plan. Only a complete snapshot may say that something is gone because it is absent: the end
noted when reading began has been reached and, in a slot entered by a handover, `!seal` of that
epoch has been read, since until then copies are still on their way. And only in the log that told of
it: one that lost a part of itself, or was made anew, is silent about what it has lost, and nobody can
tell that from what was deleted (docs/decisions/0090).
"""

from __future__ import annotations

import enum

from southbound.nca.incoming import Incoming
from southbound.partitioning.placement import Placement
from southbound.resources import Op, ResourceKey


class Reason(enum.StrEnum):
    """Why a snapshot is read. All but `FIRST` and `RESUMED` are explicit resyncs, and counted.

    `RESUMED`: an earlier life of the agent had not ended it, or had not told the applier of it.
    """

    FIRST = "first"
    RESUMED = "resumed"
    POSITION_LOST = "position_lost"
    CLUSTER_CHANGED = "cluster_changed"
    TOPIC_CHANGED = "topic_changed"
    ABSENCE = "absence"
    GAP = "gap"
    SLOW = "slow"


_LOG_HAS_LOST = frozenset({Reason.POSITION_LOST, Reason.CLUSTER_CHANGED, Reason.TOPIC_CHANGED})
"""A log keeps every position that it has given, unless it lost something."""


class Snapshot:
    """The records of one stream, gathered up to `high` (None until the watermark is known).

    `begun_us`: when the watermark was asked for, in microseconds since 1970. `is_same_log`: whether
    it is known that the log is the one that was read before.
    """

    def __init__(self, placement: Placement, reason: Reason) -> None:
        self.reason = reason
        self.high: int | None = None
        self.begun_us = 0
        self.at_end = False
        self.is_same_log = True
        self._epoch = placement.epoch
        self._sealed = placement.epoch == 1
        self._trusted = reason not in _LOG_HAS_LOST
        self._seen: set[ResourceKey] = set()
        self._gone: set[ResourceKey] = set()
        self._found: dict[ResourceKey, Incoming] = {}
        self._repeats: list[Incoming] = []

    def begin(self, start: int, low: int, high: int, now_us: int) -> int:
        """Note the watermarks and the time; return the offset to read from.

        A stream that starts beyond the end is not in this log any more (the cluster was made
        anew), and of one that starts before the log does a part is gone, since compaction never
        moves a log's beginning: the absences of both mean nothing.
        """
        self.high = high
        self.begun_us = now_us
        if start < low or start > high:
            self._trusted = False
            return low
        return start

    def see(self, key: ResourceKey) -> None:
        """Note that the log speaks of this resource, if only in a record that cannot be read."""
        self._seen.add(key)
        self._gone.discard(key)

    def take(self, incoming: Incoming) -> list[Incoming]:
        """Keep the record if it is the highest revision so far; return the one that it beat, or
        itself when it is beaten. A revision repeated by another changeset is kept beside the first.
        """
        self.see(incoming.key)
        rival = self._found.get(incoming.key)
        if rival is None or rival.entry.revision < incoming.entry.revision:
            self._found[incoming.key] = incoming
            return [] if rival is None else [rival]
        if rival.entry.revision > incoming.entry.revision:
            return [incoming]
        if rival.entry.changeset != incoming.entry.changeset:
            self._repeats.append(incoming)
        return []

    def erase(self, key: ResourceKey) -> None:
        """Take a null: a delete's last trace goes. A null behind an upsert is not believed.

        It landed behind a re-creation, and whoever wrote it appends that record again.
        """
        found = self._found.get(key)
        if found is not None and found.entry.op is Op.DELETE:
            del self._found[key]
            self._seen.discard(key)
        if found is None or found.entry.op is Op.DELETE:
            self._gone.add(key)

    def seal(self, epoch: int) -> None:
        """Take a `!seal`: everything up to `epoch` has been copied into this slot."""
        if epoch >= self._epoch:
            self._sealed = True

    def drain(self) -> list[Incoming]:
        """Return, once, the highest revision of each resource, and then what repeated it."""
        found = [*self._found.values(), *self._repeats]
        self._found, self._repeats = {}, []
        return found

    @property
    def complete(self) -> bool:
        """Whether absence from this snapshot means that a resource is gone."""
        return self.at_end and self._sealed

    @property
    def doubted(self) -> bool:
        """Whether the log is known to have lost something."""
        return not self._trusted

    @property
    def believed(self) -> bool:
        """Whether a complete snapshot's absences are to be acted on.

        Nobody knows what happened since an earlier life began to read: a log that then holds
        nothing of ours is a lost log, not an order to take everything down.
        """
        return self._trusted and (bool(self._seen) or self.reason is not Reason.RESUMED)

    def doubt(self) -> None:
        """Note that the log has lost something, whatever the reason why it is read."""
        self._trusted = False

    def absent(self, held: set[ResourceKey]) -> set[ResourceKey]:
        """Return what is held and not spoken of, or of which only a delete's last trace is there."""
        return held - self._seen

    def is_gone(self, key: ResourceKey) -> bool:
        """Tell whether there is such a trace."""
        return key in self._gone

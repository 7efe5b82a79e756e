"""From records to what is desired: routing, control records, snapshots, whole changesets. Pure.

The rule: a neighbour's record is dropped by its key's prefix before anything of it is decoded. A
record that cannot be read is put into quarantine with its place and the reason, and what follows it
goes on. A marker of a higher epoch than the stream's own is the last thing that is read of a stream
in its slot; markers and seals that say nothing new are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable

from southbound.errors import WireError
from southbound.nca.changesets import Holding
from southbound.nca.counters import Counters
from southbound.nca.desired import Desired
from southbound.nca.draft import Draft
from southbound.nca.events import Batch, Mark, Now, Record
from southbound.nca.incoming import Incoming, read
from southbound.nca.logs import Logs
from southbound.nca.positions import Positions, Stream
from southbound.nca.snapshot import Reason
from southbound.nca.state import Quarantined, Status
from southbound.partitioning.placement import Address, Placement, parse_placement
from southbound.partitioning.topology import Topology
from southbound.resources import Op
from southbound.settings import AgentSettings
from southbound.wire.control import decode_marker, decode_seal
from southbound.wire.keys import HANDOVER, RESERVED, SEAL, SEPARATOR, decode_key

_SEPARATOR = SEPARATOR.encode()
_CONTROL = RESERVED.encode()


class Reading:
    """Takes batches apart, and keeps `positions`, `holding` and `desired` in step with them.

    `changed` tells that other partitions, or other positions, are to be read from now on; `moved`
    gathers the streams that a marker has moved; `sent_us` the sending times of what became desired;
    `resynced` tells that a stream is read anew. Whoever reads these resets them.
    """

    def __init__(
        self,
        positions: Positions,
        desired: Desired,
        draft: Draft,
        counters: Counters,
        settings: AgentSettings,
        logs: Logs,
    ) -> None:
        self._positions = positions
        self._desired = desired
        self._draft = draft
        self._counters = counters
        self._settings = settings
        self._logs = logs
        self.holding = Holding(settings.changeset_hold_s, settings.held_max)
        self.topology: Topology | None = None
        self.changed = False
        self.moved: list[Stream] = []
        self.sent_us: list[int] = []
        self.resynced = False

    def batch(self, batch: Batch) -> None:
        """Take a batch.

        Leaders' epochs never fall along a log. So a record of a later one than what was read behind
        it has taken the place of another: the log was cut, and has grown again.
        """
        last: dict[Address, Record] = {}
        cut: set[Address] = set()
        foreign = 0
        for record in batch.records:
            key = record.key or b""
            prefix = key[: key.find(_SEPARATOR, 2) + 1]
            stream = self._positions.at(record.address).get(prefix)
            if stream is None or stream.unmarked:
                foreign += 1
            elif record.offset >= stream.next:
                self._counters.records_own += 1
                stream.go_to(record.offset + 1, record.leader_epoch)
                self._take(stream, record, batch.now)
            elif record.leader_epoch > stream.leader_epoch >= 0:
                cut.add(record.address)
            last[record.address] = record
        self._counters.records_foreign += foreign
        for address, record in last.items():
            self._advance(address, record.offset + 1, batch.now, record.leader_epoch)
            for stream in self._positions.at(address).values():
                self._draft.stream(stream.scope)
        for address, offset in batch.reached.items():
            self._advance(address, offset, batch.now)
        for address in cut:
            self.lost(address)

    def marked(self, address: Address, mark: Mark, now: Now) -> None:
        """Begin the snapshots of a partition whose watermarks are known now."""
        for stream in list(self._positions.at(address).values()):
            if stream.snapshot is not None and stream.snapshot.high is None:
                start = stream.placement.start
                stream.go_to(stream.snapshot.begin(start, mark.low, mark.high, now.us))
                stream.snapshot.is_same_log = not self._logs.is_known(
                    address.cluster, address.topic
                )
                self._end_if_reached(stream, now)

    def lost(self, address: Address) -> None:
        """Read everything of a partition anew, since its position is not there any more."""
        for stream in list(self._positions.at(address).values()):
            self.resync(stream, Reason.POSITION_LOST)

    def is_same_log(self, stream: Stream, now: Now) -> None:
        """Take note that a stream's log is the one that was read before."""
        if stream.snapshot is not None and stream.snapshot.high is not None:
            stream.snapshot.is_same_log = True
            self._complete_if_whole(stream, now)

    def resync(self, stream: Stream, reason: Reason) -> None:
        """Read a stream's snapshot and compare it with what is held; never silent."""
        self._counters.resync(reason.value)
        self.resynced = True
        self.enter(stream, stream.placement, reason)

    def enter(self, stream: Stream, placement: Placement, reason: Reason) -> None:
        """Read a stream from the start of a placement, as a snapshot."""
        self.holding.abandon(stream.scope)
        stream.placement = placement
        stream.restart(reason)
        self._place(stream)

    def release_overdue(self, now: Now) -> None:
        """Let go, singly, of changesets that nobody has completed in time."""
        late = self.holding.overdue(now.s)
        self._counters.changesets_released += len({one.entry.changeset for one in late})
        self._accept_all(late)

    # One record.

    def _take(self, stream: Stream, record: Record, now: Now) -> None:
        assert record.key is not None
        try:
            if record.key.startswith(_CONTROL, len(stream.prefix)):
                self._control(stream, record, now)
            elif record.value is None:
                self._null(stream, record.key)
            else:
                self._resource(stream, read(record.key, record.value, record.offset), now)
        except WireError as error:
            self._quarantine(stream, record, error, now)

    def _resource(self, stream: Stream, incoming: Incoming, now: Now) -> None:
        if stream.snapshot is not None:
            stream.snapshot.see(incoming.key)
        if stream.doubts:
            stream.doubts.discard(incoming.key)
        young_us = now.us - int(self._settings.changeset_hold_s * 1e6)
        single = incoming.count == 1 or incoming.copied
        if single or (stream.gathering and incoming.sent_us <= young_us):
            self._accept(stream, incoming)
            return
        news = self._desired.is_news(incoming)
        self._accept_all(self.holding.take(incoming, now.s, news=news))
        crowded = self.holding.crowded_out()
        self._counters.changesets_crowded_out += len({one.entry.changeset for one in crowded})
        self._accept_all(crowded)

    def _accept_all(self, ready: Iterable[Incoming]) -> None:
        for incoming in ready:
            stream = self._positions.get(incoming.key.scope)
            if stream is not None:
                self._accept(stream, incoming)

    def _accept(self, stream: Stream, incoming: Incoming) -> None:
        if stream.snapshot is not None and stream.gathering:
            for beaten in stream.snapshot.take(incoming):
                self._desired.supersede(beaten)
        elif self._desired.take(incoming):
            self.sent_us.append(incoming.sent_us)

    def _null(self, stream: Stream, wire_key: bytes) -> None:
        """Take a tombstone: it ends what is left of a delete, and nothing else."""
        key = decode_key(wire_key)
        if stream.snapshot is not None and stream.gathering:
            stream.snapshot.erase(key)
            return
        entry = self._desired.get(key)
        if entry is not None and entry.op is Op.DELETE and entry.status is Status.SETTLED:
            self._desired.forget(key)

    def _quarantine(self, stream: Stream, record: Record, error: WireError, now: Now) -> None:
        self._counters.records_quarantined += 1
        limit = self._settings.quarantine_bytes
        key = record.key or b""
        self._draft.quarantine(
            Quarantined(
                cluster=record.address.cluster,
                topic=record.address.topic,
                partition=record.address.partition,
                offset=record.offset,
                key=key[:limit],
                value=(record.value or b"")[:limit],
                why=str(error)[:limit],
                at_us=now.us,
            )
        )
        if stream.snapshot is not None:
            # A broken record does not take down what the last good one of its key had put up.
            try:
                stream.snapshot.see(decode_key(key))
            except WireError:
                return

    # Control records.

    def _control(self, stream: Stream, record: Record, now: Now) -> None:
        assert record.key is not None
        kind = decode_key(record.key).kind
        if kind == HANDOVER and record.value is not None:
            self._handover(stream, record.value)
        elif kind == SEAL and record.value is not None:
            self._seal(stream, record.value, now)
        else:
            self._counters.records_ignored += 1

    def _handover(self, stream: Stream, value: bytes) -> None:
        """Go on where the marker points, with the state as it is.

        What is still held is left behind: nobody had accepted it, and its publisher, turned by the
        fence, sends the whole changeset to the new slot.
        """
        marker = decode_marker(value)
        row = parse_placement(marker.row)
        if marker.epoch <= stream.placement.epoch:
            self._counters.records_ignored += 1
            return
        self._counters.handovers += 1
        self._counters.changesets_abandoned += self.holding.abandon(stream.scope)
        stream.placement = Placement(row.pool, row.probe, marker.epoch, marker.start)
        if stream.snapshot is not None:
            stream.restart(stream.snapshot.reason)
        else:
            stream.go_to(marker.start)
        self._place(stream)
        self.moved.append(stream)

    def _place(self, stream: Stream) -> None:
        stream.locate(self.topology)
        self._positions.put(stream)
        self._draft.stream(stream.scope)
        self.changed = True

    def _seal(self, stream: Stream, value: bytes, now: Now) -> None:
        seal = decode_seal(value)
        if stream.snapshot is None:
            self._counters.records_ignored += 1
            return
        stream.snapshot.seal(seal.epoch)
        self._complete_if_whole(stream, now)

    # Snapshots.

    def _advance(self, address: Address, offset: int, now: Now, leader_epoch: int = -1) -> None:
        for stream in list(self._positions.at(address).values()):
            if stream.unmarked:
                continue
            if offset > stream.next:
                stream.go_to(offset, leader_epoch)
            self._end_if_reached(stream, now)

    def _end_if_reached(self, stream: Stream, now: Now) -> None:
        snapshot = stream.snapshot
        if snapshot is None or snapshot.at_end or snapshot.high is None:
            return
        if stream.next >= snapshot.high:
            snapshot.at_end = True
            for incoming in snapshot.drain():
                self._desired.take(incoming, snapshot=True, clean=stream.swept)
            self._complete_if_whole(stream, now)

    def _complete_if_whole(self, stream: Stream, now: Now) -> None:
        """Conclude from what a whole snapshot does not speak of, unless it was read too slowly.

        Compaction drops a record for a newer one only when that is older than its lag. While a
        snapshot is read for longer, a record before its end may give way to one behind it, and
        would look absent.
        """
        snapshot = stream.snapshot
        if snapshot is None or not snapshot.complete:
            return
        if now.us - snapshot.begun_us > self._settings.snapshot_max_s * 1e6:
            self._counters.resync(Reason.SLOW.value)
            self.enter(stream, stream.placement, snapshot.reason)
            return
        absent = snapshot.absent(set(self._desired.of_scope(stream.scope)))
        if absent and not snapshot.is_same_log:
            # The cluster is being asked which log this is; until then the stream is read as it comes.
            return
        self._counters.snapshots += 1
        if snapshot.believed:
            gone = absent - stream.doubts
        else:
            self._counters.snapshots_refused += 1
            gone = {key for key in absent if snapshot.is_gone(key)}
            stream.doubts = {key for key in absent - gone if self._desired.stands(key)}
            stream.swept = True
        stream.doubts &= absent
        self._desired.remove(gone)
        stream.snapshot = None
        self._draft.stream(stream.scope)

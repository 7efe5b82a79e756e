from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.events import Now, Record
from southbound.nca.plan import Change, Plan
from southbound.nca.worker_core import Work, WorkerCore
from southbound.partitioning.placement import Address
from southbound.resources import PUBLIC_SCOPE, Op, ResourceKey, host_scope
from southbound.settings import WorkerSettings
from southbound.wire.envelope import Envelope, encode, encode_spec
from southbound.wire.keys import encode_key
from southbound.wire.reports import Outcome, ReportEntry

KIND = "elb"
SENT_US = 1_000_000


def now(s: float = 10.0) -> Now:
    """Return a reading of both clocks."""
    return Now(s, int(s * 1_000_000))


def elb(id: str) -> ResourceKey:
    """Return the key of a load balancer."""
    return ResourceKey(PUBLIC_SCOPE, KIND, id)


def value(
    revision: int,
    *,
    changeset: str = "",
    spec: Mapping[str, Any] | None = None,
    op: Op = Op.UPSERT,
    index: int = 0,
    count: int = 1,
) -> bytes:
    """Return a record's value; the spec tells the revision unless another is given."""
    content = {} if op is Op.DELETE else {"revision": revision} if spec is None else spec
    changeset = changeset or f"c{revision}"
    return encode(
        Envelope(revision, op, 1, changeset, index, count, SENT_US, 0, encode_spec(content))
    )


class Log:
    """Partitions as they grow; `record` appends."""

    def __init__(self) -> None:
        self.partitions: dict[int, list[Record]] = {}

    def append(self, partition: int, key: bytes | None, value: bytes | None) -> Record:
        """Write a record."""
        records = self.partitions.setdefault(partition, [])
        address = Address("c1", "sb.public.elb", partition)
        records.append(Record(address, len(records), key, value))
        return records[-1]

    def put(self, id: str, revision: int, partition: int = 0, **options: Any) -> Record:
        """Write an upsert, or what the options say."""
        return self.append(partition, encode_key(elb(id)), value(revision, **options))

    def delete(self, id: str, revision: int, partition: int = 0) -> Record:
        """Write a delete."""
        return self.put(id, revision, partition, op=Op.DELETE)

    def end(self, partition: int) -> int:
        """Return the offset that comes next."""
        return len(self.partitions.get(partition, []))


class Bench:
    """A core, a node in memory, and everything that was told."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.core = WorkerCore(KIND, WorkerSettings(retry_first_s=1.0, retry_max_s=4.0))
        self.refused: dict[str, str] = {}
        self.applier = MemoryApplier(lambda change: self.refused.get(change.key.id))
        self.applier.open()
        self.told: list[tuple[str, int, Outcome, str]] = []
        self.read: dict[int, int] = {}

    def perform(self, work: Work, at: Now) -> None:
        """Do what the core wants done."""
        self.tell(work.told)
        if work.plan.changes:
            failed = self.applier.apply(work.plan)
            self.tell(self.core.settle(work.plan, failed, at))

    def tell(self, entries: tuple[ReportEntry, ...]) -> None:
        """Note what is told."""
        for entry in entries:
            id = entry.resource.id
            self.told.append((id, entry.revision, entry.outcome, entry.detail))

    def assign(self, *partitions: int, at: Now | None = None) -> None:
        """Get partitions, learn their ends, and read them up to there."""
        self.core.assigned(partitions)
        self.read.update(dict.fromkeys(partitions, 0))
        self.perform(self.core.marked({n: self.log.end(n) for n in partitions}, now()), now())
        self.catch_up(at=at)

    def catch_up(self, size: int = 1000, at: Now | None = None) -> None:
        """Read what the partitions hold, in batches."""
        while True:
            records = []
            for number in self.core.partitions:
                records += self.log.partitions.get(number, [])[self.read[number] :]
            batch = records[:size]
            if not batch:
                return
            for record in batch:
                self.read[record.address.partition] = record.offset + 1
            self.perform(self.core.batch(batch, {}, at or now()), at or now())

    def revoke(self, *partitions: int, lost: bool = False) -> None:
        """Give partitions back."""
        self.perform(self.core.revoked(partitions, lost=lost), now())

    @property
    def on_node(self) -> dict[str, int]:
        """Return the revisions on the node by id."""
        return {key.id: revision for key, (revision, _) in self.applier.resources.items()}


@pytest.fixture
def log() -> Log:
    """Return an empty log."""
    return Log()


@pytest.fixture
def bench(log: Log) -> Bench:
    """Return a worker without partitions."""
    return Bench(log)


def test_a_replay_is_one_plan(bench: Bench, log: Log) -> None:
    """What the log says last is applied in one step, and nothing that it said before."""
    log.put("a", 1)
    log.put("b", 1)
    log.put("a", 2)
    log.delete("b", 2)
    log.put("c", 1)
    bench.assign(0)
    assert [change.key.id for plan in bench.applier.plans for change in plan.changes] == ["a", "c"]
    assert bench.on_node == {"a": 2, "c": 1}
    assert len(bench.core.replaying) == 0


def test_nothing_is_applied_before_the_end_is_reached(bench: Bench, log: Log) -> None:
    """Half a replay is a state of long ago."""
    records = [log.put("a", 1), log.put("a", 2)]
    bench.core.assigned([0])
    assert list(bench.core.unmarked) == [0]
    bench.perform(bench.core.batch(records, {}, now()), now())
    assert bench.on_node == {}
    bench.perform(bench.core.marked({0: 3}, now()), now())
    assert len(bench.core.unmarked) == 0
    assert bench.on_node == {}
    bench.perform(bench.core.batch([log.put("b", 1)], {}, now()), now())
    assert bench.on_node == {"a": 2, "b": 1}


def test_an_end_that_no_record_tells(bench: Bench, log: Log) -> None:
    """Where compaction has taken the last records, the position tells the end."""
    bench.core.assigned([0])
    bench.perform(bench.core.marked({0: 7}, now()), now())
    bench.perform(bench.core.batch([log.put("a", 1)], {}, now()), now())
    assert list(bench.core.replaying) == [0]
    bench.perform(bench.core.batch([], {0: 7}, now()), now())
    assert len(bench.core.replaying) == 0
    assert bench.on_node == {"a": 1}


def test_an_empty_partition_is_live_at_once(bench: Bench) -> None:
    """There is nothing to be read before its end."""
    bench.core.assigned([0])
    assert list(bench.core.replaying) == [0]
    assert bench.core.marked({0: 0, 9: 5}, now()) == Work()
    assert len(bench.core.replaying) == 0


def test_live_changes_follow(bench: Bench, log: Log) -> None:
    """After the replay each batch is applied as it comes."""
    bench.assign(0)
    log.put("a", 1)
    bench.catch_up()
    log.put("a", 2)
    log.delete("a", 3)
    bench.catch_up(size=1)
    assert bench.on_node == {}
    assert bench.told == [
        ("a", 1, Outcome.APPLIED, ""),
        ("a", 2, Outcome.APPLIED, ""),
        ("a", 3, Outcome.APPLIED, ""),
    ]


def test_what_a_batch_overtakes_is_superseded(bench: Bench, log: Log) -> None:
    """Only the last revision of a batch is applied; whoever waits for the others hears of it."""
    bench.assign(0)
    for revision in (1, 2, 3):
        log.put("a", revision)
    bench.catch_up()
    assert bench.told == [
        ("a", 1, Outcome.SUPERSEDED, ""),
        ("a", 2, Outcome.SUPERSEDED, ""),
        ("a", 3, Outcome.APPLIED, ""),
    ]
    assert bench.core.counters.resources_applied == 1


def test_an_older_revision_is_dropped(bench: Bench, log: Log) -> None:
    """Late or repeated records change nothing, also after a delete."""
    log.put("a", 5)
    log.delete("b", 5)
    bench.assign(0)
    bench.told.clear()
    log.put("a", 4)
    log.put("b", 4)
    bench.catch_up()
    assert bench.on_node == {"a": 5}
    assert {entry[2] for entry in bench.told} == {Outcome.SUPERSEDED}
    assert bench.core.counters.revisions_older == 2


def test_a_revision_published_again_is_answered_again(bench: Bench, log: Log) -> None:
    """Publishing the same revision again is safe, and its sender learns how it stands."""
    bench.assign(0)
    log.put("a", 1, changeset="first")
    log.put("a", 1, changeset="second")
    bench.catch_up()
    log.put("a", 1, changeset="third")
    log.put("a", 1, changeset="fourth", spec={"other": 1})
    bench.catch_up()
    assert [entry[2] for entry in bench.told] == [Outcome.APPLIED] * 4
    assert bench.core.counters.revisions_equal == 2
    assert bench.core.counters.revisions_conflicting == 1
    assert len(bench.applier.plans) == 1


def test_changesets_are_taken_singly(bench: Bench, log: Log) -> None:
    """The rest of a changeset may lie with another worker, so nothing waits for it."""
    log.put("a", 1, index=0, count=2)
    bench.assign(0)
    log.put("b", 1, index=0, count=2)
    bench.catch_up()
    assert bench.on_node == {"a": 1, "b": 1}


def test_giving_back_is_not_deleting(bench: Bench, log: Log) -> None:
    """The node loses what the partition put there, and no report speaks of it."""
    log.put("a", 3)
    log.put("b", 1, partition=1)
    log.delete("c", 2)
    bench.assign(0, 1)
    bench.told.clear()
    bench.revoke(0)
    assert bench.on_node == {"b": 1}
    assert bench.applier.plans[-1] == Plan((Change(elb("a"), 3, Op.DELETE, {}),))
    assert bench.told == []
    assert bench.core.partitions == (1,)
    assert bench.core.counters.resources_released == 1


def test_what_was_not_applied_need_not_be_released(bench: Bench, log: Log) -> None:
    """A partition that goes while it is replayed leaves nothing to do."""
    log.put("a", 1)
    bench.core.assigned([0])
    bench.perform(bench.core.batch(log.partitions[0], {}, now()), now())
    assert bench.core.revoked([0]) == Work()


def test_records_of_a_partition_given_back_are_dropped(bench: Bench, log: Log) -> None:
    """What was read before it went must not come back to life."""
    bench.assign(0)
    late = log.put("a", 1)
    bench.revoke(0)
    assert bench.core.batch([late], {0: 1}, now()) == Work()
    assert bench.core.counters.records == 0


def test_a_partition_comes_back_from_its_beginning(bench: Bench, log: Log) -> None:
    """What others did in between is in the log, older revisions than before included."""
    log.put("a", 5)
    log.put("b", 1)
    bench.assign(0)
    bench.revoke(0)
    log.delete("a", 6)
    log.partitions[0] = [record for record in log.partitions[0] if record.offset]
    bench.assign(0)
    assert bench.on_node == {"b": 1}


def test_a_lost_partition_is_released_too(bench: Bench, log: Log) -> None:
    """Another has it already, so this node must not keep it; it is counted apart."""
    log.put("a", 1)
    bench.assign(0)
    bench.revoke(0, lost=True)
    assert bench.on_node == {}
    assert bench.core.counters.partitions_lost == 1
    assert bench.core.counters.partitions_revoked == 0


def test_a_refused_resource_is_tried_again(bench: Bench, log: Log) -> None:
    """With a growing wait, reported once for each reason, and blocking nothing else."""
    bench.refused["a"] = "no bridge"
    bench.assign(0)
    log.put("a", 1)
    log.put("b", 1)
    bench.catch_up()
    assert bench.on_node == {"b": 1}
    assert bench.core.gauges().failed == 1
    assert bench.core.deadline_s() == 11.0
    assert bench.core.retry(now(10.9)) == Work()
    bench.perform(bench.core.retry(now(11)), now(11))
    assert bench.core.deadline_s() == 13.0
    bench.refused["a"] = "no port"
    bench.perform(bench.core.retry(now(13)), now(13))
    del bench.refused["a"]
    bench.perform(bench.core.retry(now(17)), now(17))
    assert bench.on_node == {"a": 1, "b": 1}
    assert bench.core.deadline_s() is None
    assert [entry for entry in bench.told if entry[0] == "a"] == [
        ("a", 1, Outcome.FAILED, "no bridge"),
        ("a", 1, Outcome.FAILED, "no port"),
        ("a", 1, Outcome.APPLIED, ""),
    ]


def test_a_newer_revision_takes_a_refused_ones_place(bench: Bench, log: Log) -> None:
    """The older is superseded, and never tried again."""
    bench.refused["a"] = "no"
    bench.assign(0)
    log.put("a", 1)
    bench.catch_up()
    log.put("a", 1, changeset="again")
    bench.catch_up()
    bench.refused.clear()
    log.put("a", 2)
    bench.catch_up()
    assert [(entry[1], entry[2]) for entry in bench.told] == [
        (1, Outcome.FAILED),
        (1, Outcome.FAILED),
        (1, Outcome.SUPERSEDED),
        (2, Outcome.APPLIED),
    ]
    assert bench.core.deadline_s() is None


def test_a_refused_release_is_tried_again(bench: Bench, log: Log) -> None:
    """What could not be taken from the node stays known until it is gone."""
    log.put("a", 1)
    bench.assign(0)
    bench.told.clear()
    bench.refused["a"] = "busy"
    bench.revoke(0)
    assert bench.core.gauges().unreleased == 1
    assert bench.core.counters.release_failures == 1
    bench.refused.clear()
    bench.perform(bench.core.retry(now(20)), now(20))
    assert bench.on_node == {}
    assert bench.core.gauges().unreleased == 0
    assert bench.told == []


def test_a_refused_release_ends_when_the_partition_comes_back(bench: Bench, log: Log) -> None:
    """What is on the node again by right is not released, and what was deleted meanwhile goes."""
    log.put("a", 1)
    log.put("b", 1)
    bench.assign(0)
    bench.refused = {"a": "busy", "b": "busy"}
    bench.revoke(0)
    bench.refused.clear()
    log.delete("b", 2)
    bench.assign(0)
    assert bench.core.gauges().unreleased == 0
    assert bench.core.retry(now(100)) == Work()
    assert bench.on_node == {"a": 1}


def test_a_refused_delete_goes_with_its_partition(bench: Bench, log: Log) -> None:
    """A deleted resource that is still on the node is released with the rest."""
    log.put("a", 1)
    bench.assign(0)
    bench.refused["a"] = "busy"
    log.delete("a", 2)
    bench.catch_up()
    bench.refused.clear()
    bench.revoke(0)
    assert bench.on_node == {}
    assert bench.core.deadline_s() is None


def test_a_null_ends_the_memory_of_a_delete(bench: Bench, log: Log) -> None:
    """The janitor's null is no delete: what lives is left alone."""
    log.put("a", 1)
    log.delete("b", 2)
    bench.assign(0)
    for id in ("a", "b", "never"):
        log.append(0, encode_key(elb(id)), None)
    bench.catch_up()
    assert bench.on_node == {"a": 1}
    assert bench.core.counters.records_ignored == 1
    log.put("b", 1)
    bench.catch_up()
    assert bench.on_node == {"a": 1, "b": 1}


GOOD = value(1)
BROKEN = {
    "no key": (None, GOOD),
    "a key of another shape": (b"what", GOOD),
    "another kind": (encode_key(ResourceKey(PUBLIC_SCOPE, "eip", "x")), GOOD),
    "a host's": (encode_key(ResourceKey(host_scope("h"), KIND, "x")), GOOD),
    "an unknown version": (encode_key(elb("x")), b"\x02" + GOOD[1:]),
    "an empty value": (encode_key(elb("x")), b""),
    "a truncated value": (encode_key(elb("x")), GOOD[:-3]),
    "a spec that is none": (
        encode_key(elb("x")),
        encode(Envelope(1, Op.UPSERT, 1, "c", 0, 1, 0, 0, msgspec.msgpack.encode([1]))),
    ),
    "revision 0": (
        encode_key(elb("x")),
        encode(Envelope(0, Op.UPSERT, 1, "c", 0, 1, 0, 0, b"\x80")),
    ),
}


@pytest.mark.parametrize(("key", "content"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_record_is_put_into_quarantine(
    bench: Bench, log: Log, key: bytes | None, content: bytes
) -> None:
    """Its place and the reason are kept, and what follows it is applied; also in a replay."""
    log.put("a", 1)
    log.append(0, key, content)
    log.put("b", 1)
    bench.assign(0)
    assert bench.on_node == {"a": 1, "b": 1}
    (quarantined,) = bench.core.quarantined
    assert (quarantined.partition, quarantined.offset) == (0, 1)
    assert quarantined.why
    assert bench.core.counters.records_quarantined == 1


def test_a_broken_record_does_not_hide_the_good_one_before_it(bench: Bench, log: Log) -> None:
    """The last revision that can be read stays."""
    log.put("a", 1)
    log.append(0, encode_key(elb("a")), b"\xff")
    bench.assign(0)
    assert bench.on_node == {"a": 1}


def test_the_quarantine_is_bounded(log: Log) -> None:
    """The newest records are kept, each cut to a limit."""
    core = WorkerCore(KIND, WorkerSettings(quarantine_max=2, quarantine_bytes=10))
    core.assigned([0])
    core.batch([log.append(0, b"k" * 99, b"\xff" * 99) for _ in range(5)], {}, now())
    assert [record.offset for record in core.quarantined] == [3, 4]
    assert {len(record.value) for record in core.quarantined} == {10}
    assert core.counters.records_quarantined == 5


def test_control_records_mean_nothing_here(bench: Bench, log: Log) -> None:
    """Public resources do not move, so a marker is only counted."""
    log.append(0, encode_key(ResourceKey(PUBLIC_SCOPE, "!handover", "2")), b"\x01")
    bench.assign(0)
    assert bench.core.counters.records_ignored == 1
    assert not bench.core.quarantined


def test_lag_is_that_of_live_changes(bench: Bench, log: Log) -> None:
    """A replay of last year's resource says nothing about how long changes take."""
    log.put("a", 1)
    bench.assign(0)
    assert bench.core.counters.lag.sum_s == 0
    log.put("a", 2)
    bench.catch_up(at=now(3))
    assert bench.core.counters.lag.sum_s == 2.0


def test_gauges_tell_how_it_stands(bench: Bench, log: Log) -> None:
    """Partitions, resources and debts."""
    log.put("a", 1)
    log.delete("b", 1)
    bench.assign(0)
    bench.core.assigned([1])
    gauges = bench.core.gauges(owed=3)
    assert (gauges.partitions, gauges.partitions_replaying) == (2, 1)
    assert (gauges.resources, gauges.owed) == (1, 3)


# Against a deliberately dumb second implementation.

IDS = ["a", "b", "c", "d"]
PARTITION = {"a": 0, "b": 1, "c": 2, "d": 0}
steps = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from(IDS),
        st.integers(1, 5),
        st.sampled_from([Op.UPSERT, Op.DELETE]),
    ),
    st.tuples(st.just("move"), st.sampled_from([0, 1, 2]), st.sampled_from([0, 1])),
    st.tuples(st.just("read"), st.sampled_from([0, 1]), st.integers(1, 3)),
    st.tuples(st.just("refuse"), st.sampled_from(IDS), st.booleans()),
)


def expected(log: Log, partition: int) -> dict[str, int]:
    """Return what a partition says: per id the first record of the highest revision."""
    best: dict[str, tuple[int, int, Op]] = {}
    for record in log.partitions.get(partition, []):
        assert record.key is not None
        assert record.value is not None
        id = record.key.decode().split("\x1f")[2]
        fields = msgspec.msgpack.decode(record.value[1:])
        if id not in best or fields[0] > best[id][0]:
            best[id] = (fields[0], record.offset, Op(fields[1]))
    return {id: revision for id, (revision, _, op) in best.items() if op is Op.UPSERT}


@given(st.lists(steps, max_size=60))
def test_two_workers_together_hold_what_the_log_says(history: list[tuple[Any, ...]]) -> None:
    """However partitions move and the applier refuses, in the end each node has its share exactly;
    and as long as nothing is refused, no resource is ever on two nodes.
    """
    log = Log()
    workers = [Bench(log), Bench(log)]
    owner: dict[int, int] = {}
    refused_ever = False
    for step in history:
        if step[0] == "put":
            log.put(step[1], step[2], PARTITION[step[1]], op=step[3])
        elif step[0] == "move":
            _, partition, to = step
            if partition in owner:
                workers[owner[partition]].revoke(partition)
            workers[to].core.assigned([partition])
            workers[to].read[partition] = 0
            marked = workers[to].core.marked({partition: log.end(partition)}, now())
            workers[to].perform(marked, now())
            owner[partition] = to
        elif step[0] == "read":
            workers[step[1]].catch_up(step[2])
        else:
            refused_ever = refused_ever or step[2]
            for worker in workers:
                worker.refused = {step[1]: "no"} if step[2] else {}
        assert refused_ever or not set(workers[0].on_node) & set(workers[1].on_node)
    for number, worker in enumerate(workers):
        worker.refused = {}
        worker.catch_up()
        worker.perform(worker.core.retry(now(1e6)), now(1e6))
        share: dict[str, int] = {}
        for partition, whose in owner.items():
            if whose == number:
                share |= expected(log, partition)
        assert worker.on_node == share
        assert worker.core.deadline_s() is None

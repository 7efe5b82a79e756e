"""The simulated log, disk and Redis do what their models promise, and no more."""

from __future__ import annotations

import pytest

from southbound.directory.verdict import Held
from southbound.nca.state import Transaction
from tests.simulation.directory import Change, Memory, Redis
from tests.simulation.disk import Disk
from tests.simulation.log import Cluster, Lost, Partition

_KEY, _OTHER = b"k", b"o"


def _acknowledged(*records: tuple[bytes, bytes | None, int]) -> Partition:
    """Return a partition with records at times, all of them acknowledged."""
    partition = Partition()
    for number, (key, value, at_us) in enumerate(records):
        partition.append(key, value, at_us, ("p", number))
        partition.commit(("p", number))
    return partition


def test_what_is_not_acknowledged_is_not_read_and_may_vanish() -> None:
    """A new leader has what followers had; whoever waits for more is told that it is lost."""
    partition = _acknowledged((_KEY, b"1", 0))
    partition.append(_KEY, b"2", 0, ("p", 1))
    assert [one.value for one in partition.read(0, 9)] == [b"1"]
    assert partition.change_leader() == 1
    with pytest.raises(Lost):
        partition.commit(("p", 1))
    assert partition.append(_KEY, b"2", 0, ("p", 1)) == 1


def test_an_idempotent_producer_appends_once() -> None:
    """The same number again is the same record."""
    partition = _acknowledged((_KEY, b"1", 0))
    assert partition.append(_KEY, b"1", 5, ("p", 0)) == 0
    assert partition.end == 1


def test_compaction_keeps_what_is_young_and_the_last_of_each_key() -> None:
    """A record gives way only to one that is itself older than the lag; offsets stay."""
    partition = _acknowledged((_KEY, b"1", 0), (_OTHER, b"1", 1), (_KEY, b"2", 2), (_KEY, b"3", 90))
    assert partition.compact(100, lag_us=50, retention_us=50) == 1
    assert [one.offset for one in partition.read(0, 9)] == [1, 2, 3]


def test_a_null_goes_once_it_is_old() -> None:
    """And takes its key with it."""
    partition = _acknowledged((_KEY, b"1", 0), (_KEY, None, 10))
    partition.compact(40, lag_us=10, retention_us=50)
    assert [one.offset for one in partition.read(0, 9)] == [1]
    partition.compact(70, lag_us=10, retention_us=50)
    assert partition.read(0, 9) == []
    assert partition.high == 2


def test_a_wiped_cluster_is_another_one() -> None:
    """Its id tells it, and its data is gone."""
    cluster = Cluster("c")
    before = cluster.kafka_id
    partition = cluster.partition("t")
    partition.append(_KEY, b"1", 0, ("p", 0))
    partition.commit(("p", 0))
    cluster.wipe(lambda topic: topic == "t")
    assert (cluster.kafka_id != before, partition.high) == (True, 0)


def test_power_loss_takes_the_latest_transactions() -> None:
    """Never one out of the middle."""
    disk = Disk()
    for number in range(3):
        disk.commit(Transaction(kafka_ids={"c": str(number)}))
    disk.lose_power(2)
    assert disk.state.kafka_ids == {"c": "0"}


def test_redis_falls_back_as_a_whole() -> None:
    """Rows and position are of one moment; a part of the journal is taken over once."""
    redis = Redis()
    first, second, slot = Held(1, "a"), Held(2, "b"), ("pool", 0)
    assert redis.roll("az", 0, 1, [Change("h", None, first, ((slot, 1),))]) == []
    assert redis.roll("az", 2, 3, []) is None
    assert redis.roll("az", 1, 2, [Change("h", None, second, ())]) == ["h"]
    assert redis.roll("az", 1, 2, [Change("h", first, second, ((slot, -1),))]) == []
    redis.fail_over(1)
    assert redis.memory == Memory({"h": first}, {"az": 1}, {}, {slot: 1})

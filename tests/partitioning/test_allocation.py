from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from southbound.partitioning.allocation import (
    Occupancy,
    by_load,
    choose_probe,
    fewest,
    share_out,
    slot_index,
    slot_indexes,
)
from southbound.partitioning.hashing import PROBES_MAX, slot_of
from southbound.partitioning.topology import Pool


def pool(id: str = "p", topics: int = 2, partitions: int = 3, max_per_slot: int = 2) -> Pool:
    """A host pool."""
    return Pool(
        id=id,
        cluster="c",
        cls="host",
        topics=topics,
        partitions=partitions,
        max_per_slot=max_per_slot,
    )


def test_a_million_hosts_in_a_hundred_thousand_slots() -> None:
    """Two probes keep the fullest slot at 13 where the mean is 10."""
    pools = [pool(f"c{number}", 200, 50, max_per_slot=1_000) for number in range(10)]
    occupancy = Occupancy(pools)
    hosts = 1_000_000
    for number, first in enumerate(share_out(pools, {}, hosts)):
        assert occupancy.allocate("host", f"host-{number:06d}", [first]) is not None
    counts = [count for slots in occupancy.counts.values() for count in slots]
    assert sum(counts) == hosts
    assert sum(counts) / len(counts) == 10
    assert max(counts) <= 13


def test_one_probe_is_far_worse() -> None:
    """The same hosts by their first probe alone: half as much again in the fullest slot."""
    pools = [pool("c", 200, 50, max_per_slot=1_000)]
    occupancy = Occupancy(pools)
    single: Counter[int] = Counter()
    for number in range(100_000):
        host = f"host-{number:06d}"
        occupancy.allocate("host", host, pools)
        single[slot_index("host", host, pools[0], 0)] += 1
    assert max(single.values()) >= 1.5 * max(occupancy.counts["c"])


def test_slots_are_numbered_by_topic_then_partition() -> None:
    """The index of a slot is topic x partitions + partition."""
    big = pool(topics=7, partitions=5)
    for number in range(50):
        slot = slot_of("vpc", f"v{number}", probe=3, topics=7, partitions=5)
        index = slot_index("vpc", f"v{number}", big, 3)
        assert divmod(index, 5) == slot
        assert slot_indexes("vpc", f"v{number}", big)[3] == index


def test_the_emptier_of_two_probes_wins() -> None:
    """The first of equals; a further probe only when both are full, in turn."""
    assert choose_probe([4, 3], 5) == 1
    assert choose_probe([3, 4], 5) == 0
    assert choose_probe([3, 3], 5) == 0
    assert choose_probe([0], 5) == 0
    assert choose_probe([5, 5, 5, 4, 0], 5) == 3
    assert choose_probe([5, 4, 0], 5) == 1
    assert choose_probe([5] * 16, 5) is None


@given(st.lists(st.integers(0, 6), min_size=1, max_size=PROBES_MAX), st.integers(1, 5))
def test_a_chosen_probe_has_room(counts: list[int], max_per_slot: int) -> None:
    """None is chosen exactly when none has room."""
    chosen = choose_probe(counts, max_per_slot)
    if chosen is None:
        assert all(count >= max_per_slot for count in counts)
    else:
        assert counts[chosen] < max_per_slot


def test_newcomers_go_where_the_load_is_least() -> None:
    """Load is entries a slot; a pool twice as big takes twice as many; equals keep their order."""
    small, big = pool("small"), pool("big", topics=4)
    assert [one.id for one in by_load([small, big], {"small": 1, "big": 1})] == ["big", "small"]
    assert [one.id for one in by_load([small, big], {})] == ["small", "big"]
    shared = Counter(one.id for one in share_out([small, big], {}, 300))
    assert shared == {"small": 100, "big": 200}
    assert share_out([], {}, 5) == []
    assert [one.id for one in share_out([small, big], {"small": 60}, 5)] == ["big"] * 5


@given(st.integers(0, 200), st.dictionaries(st.sampled_from("abc"), st.integers(0, 50)))
def test_sharing_out_levels_the_pools(count: int, totals: dict[str, int]) -> None:
    """A pool that got somebody ends at most one entry above any other."""
    pools = [pool(id) for id in "abc"]
    after = Counter(totals)
    got = Counter(one.id for one in share_out(pools, totals, count))
    after.update(got)
    assert sum(got.values()) == count
    for id in got:
        assert after[id] <= min(after[other.id] for other in pools) + 1


def test_a_full_pool_sends_on_to_the_next() -> None:
    """Every slot is filled to its limit before newcomers go to another pool, then none is left."""
    first, second = pool("first", 1, 3), pool("second", 1, 2)
    occupancy = Occupancy([first, second])
    choices = [occupancy.allocate("host", f"h{number}", [first, second]) for number in range(12)]
    placed = [choice for choice in choices if choice is not None]
    assert len(placed) == 10
    assert choices[10:] == [None, None]
    assert occupancy.totals == {"first": 6, "second": 4}
    assert list(occupancy.counts["first"]) == [2, 2, 2]
    assert {choice.pool for choice in placed[:5]} == {"first"}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 60))
def test_public_resources_fill_the_emptiest(counts: list[int], newcomers: int) -> None:
    """Who comes goes to a partition that nobody undercuts, the lowest of such."""
    now = list(counts)
    for chosen in fewest(counts, newcomers):
        assert now[chosen] == min(now)
        assert chosen == now.index(min(now))
        now[chosen] += 1
    assert sum(now) == sum(counts) + newcomers

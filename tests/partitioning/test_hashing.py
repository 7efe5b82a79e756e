import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.partitioning.hashing import PROBES_MAX, Slot, slot_of, spread

ids = st.text(min_size=1, max_size=40)


def test_golden_vectors_match(shared_golden: Path) -> None:
    """The mapping is the one that every language agreed on."""
    vectors = json.loads((shared_golden / "slots.json").read_text())
    assert vectors
    for vector in vectors:
        found = slot_of(
            vector["class"],
            vector["id"],
            probe=vector["probe"],
            topics=vector["topics"],
            partitions=vector["partitions"],
        )
        assert found == Slot(vector["topic"], vector["partition"]), vector


@pytest.mark.parametrize(
    ("cls", "id", "probe", "expected"),
    [("host", "host-000001", 0, (2, 15)), ("host", "host-000001", 1, (81, 15))],
)
def test_known_slots_of_a_pool_of_production_size(
    cls: str, id: str, probe: int, expected: tuple[int, int]
) -> None:
    """A few vectors stand here too, for whoever has only this repository."""
    assert slot_of(cls, id, probe=probe, topics=200, partitions=50) == expected


@given(
    st.sampled_from(["host", "vpc"]),
    ids,
    st.integers(0, PROBES_MAX - 1),
    st.integers(1, 500),
    st.integers(1, 200),
)
def test_every_id_has_exactly_one_slot(
    cls: str, id: str, probe: int, topics: int, partitions: int
) -> None:
    """Whatever the id and the pool, the slot is in the pool, and the same each time."""
    slot = slot_of(cls, id, probe=probe, topics=topics, partitions=partitions)
    assert 0 <= slot.topic < topics
    assert 0 <= slot.partition < partitions
    assert slot == slot_of(cls, id, probe=probe, topics=topics, partitions=partitions)


def test_probes_seldom_agree() -> None:
    """Two probes of an id mean the same slot less often than one time in 200."""
    same = sum(
        slot_of("host", f"h{number}", probe=0, topics=200, partitions=50)
        == slot_of("host", f"h{number}", probe=1, topics=200, partitions=50)
        for number in range(20_000)
    )
    assert same < 100


@given(ids, st.integers(1, 100_000))
def test_a_key_spreads_into_one_of_the_bins(key: str, bins: int) -> None:
    """Bins count from 0, and a key always falls into the same one."""
    assert 0 <= spread(key, bins) < bins
    assert spread(key, bins) == spread(key, bins)

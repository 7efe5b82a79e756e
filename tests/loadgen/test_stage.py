"""What a stage consists of at each scale, and what its folder remembers."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from loadgen.stage import Keeper, StageSize, check_machine
from southbound.errors import ConfigError


def test_a_million_hosts_have_the_plans_hundred_thousand_partitions() -> None:
    """Ten clusters of 200 topics of 50 partitions, ten hosts a slot."""
    size = StageSize.for_hosts(1_000_000)
    assert (size.clusters, size.azs, size.topics, size.partitions) == (10, 3, 200, 50)
    assert size.host_partitions == 100_000
    assert str(size) == "10 clusters x 200 topics x 50 partitions"
    assert size.layout().vpc.topics * size.layout().vpc.partitions == 100


@pytest.mark.parametrize("hosts", [10, 100, 1_000, 12_345, 100_000])
@pytest.mark.parametrize("clusters", [1, 2, 3, 10])
def test_smaller_stages_keep_about_ten_hosts_a_slot(hosts: int, clusters: int) -> None:
    """Every scale has slots enough for its hosts, and never none."""
    size = StageSize.for_hosts(hosts, clusters)
    assert size.clusters == clusters
    assert 1 <= size.azs <= clusters
    assert size.host_partitions * size.layout().host.max_per_slot >= hosts
    assert size.slots >= 1
    assert size.layout().vpc.partitions >= 1


def test_a_folder_keeps_its_size_and_fleet(tmp_path: Path) -> None:
    """The same stage finds it again, another one is told in what it differs."""
    keeper, size = Keeper(tmp_path / "stage"), StageSize.for_hosts(1_000, 2)
    assert not keeper.claim(size, "a fleet")
    assert keeper.claim(size, "a fleet")
    with pytest.raises(ConfigError, match=r"partitions: this run wants 25 .got 50."):
        keeper.claim(StageSize.for_hosts(500, 2), "a fleet")
    with pytest.raises(ConfigError, match="another fleet"):
        keeper.claim(size, "another fleet")
    keeper.forget()
    assert not keeper.claim(StageSize.for_hosts(500, 2), "another fleet")


def test_revisions_are_handed_out_once_whoever_asks(tmp_path: Path) -> None:
    """A run that was interrupted has used up its revisions: the next one's are higher."""
    keeper = Keeper(tmp_path)
    keeper.claim(StageSize(), "")
    first = keeper.take_revisions(5)
    assert first == 1
    assert Keeper(tmp_path).take_revisions(3) == 6
    assert Keeper(tmp_path).take_revisions(1) == 9


def test_a_broken_record_is_said_to_be_one(tmp_path: Path) -> None:
    """What is no record names its file and the way out."""
    (tmp_path / "stage.json").write_text("{")
    with pytest.raises(ConfigError, match="--fresh"):
        Keeper(tmp_path).claim(StageSize(), "")
    (tmp_path / "stage.json").write_text('{"size": {}, "format": 99}')
    with pytest.raises(ConfigError, match="another version"):
        Keeper(tmp_path).claim(StageSize(), "")


def test_limits_that_are_too_low_are_named_before_anything_starts() -> None:
    """A broker of a million partitions fits into no machine's open files."""
    size = StageSize(clusters=1, azs=1, topics=20_000, partitions=5_000)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with pytest.raises(ConfigError, match="limits are too low"):
            check_machine(size, lambda _line: None)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

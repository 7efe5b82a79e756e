from pathlib import Path

import pytest

from southbound.errors import ConfigError
from southbound.local.record import (
    FleetRecord,
    new_kafka_id,
    planned,
    read_record,
    write_record,
)


def test_a_record_reads_back_as_written(tmp_path: Path) -> None:
    """Ports and cluster ids survive, and nothing else is left in the folder."""
    file = tmp_path / "fleet.json"
    record = planned(None, 3, 2, "here")
    write_record(file, record)
    assert read_record(file) == record
    assert list(tmp_path.iterdir()) == [file]


def test_no_file_is_no_fleet(tmp_path: Path) -> None:
    """A folder without a record is not a fault."""
    assert read_record(tmp_path / "fleet.json") is None


@pytest.mark.parametrize("text", ["", "{}", '{"region": 3}', "not json"])
def test_a_broken_record_names_its_file(tmp_path: Path, text: str) -> None:
    """A person can see which file to look at."""
    file = tmp_path / "fleet.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=str(file)):
        read_record(file)


def test_a_record_that_holds_a_key_twice_is_refused(tmp_path: Path) -> None:
    """The key is named, and the file."""
    file = tmp_path / "fleet.json"
    write_record(file, planned(None, 1, 1, "here"))
    file.write_text(file.read_text().replace('"region"', '"redis_port": 1, "region"', 1))
    with pytest.raises(ConfigError, match=r"'redis_port' stands twice") as caught:
        read_record(file)
    assert str(file) in str(caught.value)


def test_a_record_of_a_later_format_is_refused(tmp_path: Path) -> None:
    """It is never guessed at."""
    file = tmp_path / "fleet.json"
    write_record(file, FleetRecord(region="r", redis_port=1, brokers=(), format=2))
    with pytest.raises(ConfigError, match="format"):
        read_record(file)


def test_clusters_go_round_the_zones() -> None:
    """Three clusters in two zones: the third shares the first one's."""
    record = planned(None, 3, 2, "r")
    assert [(broker.name, broker.az) for broker in record.brokers] == [
        ("c1", "az-a"),
        ("c2", "az-b"),
        ("c3", "az-a"),
    ]
    assert record.azs == ("az-a", "az-b")


def test_all_ports_of_a_fleet_differ() -> None:
    """Two for each broker and one for Redis."""
    record = planned(None, 4, None, "r")
    used = [port for broker in record.brokers for port in (broker.port, broker.controller_port)]
    assert len({*used, record.redis_port}) == 9


def test_growing_keeps_what_is_known() -> None:
    """New clusters are added behind; the old ones keep their ports and ids."""
    small = planned(None, 2, 2, "r")
    grown = planned(small, 5, None, "other")
    assert grown.brokers[:2] == small.brokers
    assert (grown.redis_port, grown.region) == (small.redis_port, "r")
    assert [broker.az for broker in grown.brokers] == ["az-a", "az-b", "az-a", "az-b", "az-a"]


@pytest.mark.parametrize(
    ("clusters", "azs", "named"),
    [(0, None, "clusters"), (2, 0, "azs"), (2, 3, "azs"), (30, 27, "azs")],
)
def test_impossible_numbers_are_named(clusters: int, azs: int | None, named: str) -> None:
    """The fault names the parameter."""
    with pytest.raises(ConfigError) as caught:
        planned(None, clusters, azs, "r")
    assert [fault.place for fault in caught.value.faults] == [named]


@pytest.mark.parametrize(("clusters", "azs", "named"), [(2, None, "clusters"), (3, 1, "azs")])
def test_a_fleet_neither_shrinks_nor_changes_its_zones(
    clusters: int, azs: int | None, named: str
) -> None:
    """Data of a cluster would be left behind."""
    known = planned(None, 3, 2, "r")
    with pytest.raises(ConfigError) as caught:
        planned(known, clusters, azs, "r")
    assert [fault.place for fault in caught.value.faults] == [named]


def test_cluster_ids_are_as_kafka_writes_them() -> None:
    """22 characters of URL-safe base64; a leading dash would read as an option."""
    ids = {new_kafka_id() for _ in range(500)}
    assert len(ids) == 500
    assert {len(id) for id in ids} == {22}
    assert not any(id.startswith("-") for id in ids)

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from loadgen.capacity.costs import COSTS
from loadgen.capacity.demand import Aims, Ceilings, Demand
from loadgen.capacity.planner import REPLICATION, Plan, plan
from loadgen.capacity.units import read_units, shipped
from southbound.errors import ConfigError, PlanError
from southbound.partitioning.allocation import Occupancy
from southbound.partitioning.topology import Pool

# Costs of round numbers, so that these tests do not hang on the machine that measured.
_COSTS = {
    **dict.fromkeys(COSTS, 1.0),
    "broker_base_bytes": 200e6,
    "partition_bytes": 32e3,
    "partition_maps": 2.0,
    "fetch_us": 200.0,
    "change_broker_us": 500.0,
    "record_overhead_bytes": 100.0,
    "redis_host_bytes": 77.0,
    "restart_broker_us": 5_000.0,
    "restart_redis_us": 100.0,
    "system_partitions": 35.0,
}


def _plan(
    demand: Demand | None = None, aims: Aims | None = None, ceilings: Ceilings | None = None
) -> Plan:
    return plan(demand or Demand(), aims or Aims(), ceilings or Ceilings(), _COSTS)


def test_a_million_hosts_are_the_plan_of_the_design() -> None:
    """10 clusters x 200 topics x 50 partitions x 10 hosts, three or four clusters a zone."""
    found = _plan()
    assert found.shape == "10 clusters x 200 topics x 50 partitions x 10 hosts"
    assert found.value("host_slots") * found.value("clusters") == 100_000
    assert 3 <= found.value("clusters_per_az") <= 4
    assert found.value("pools") == 20


@pytest.mark.parametrize("costs", [_COSTS, dict(shipped().costs)], ids=["round", "shipped"])
def test_the_plan_of_the_design_says_where_it_breaks(costs: dict[str, float]) -> None:
    """One host more misses the aim; slots are full before anything of Redis or of disks is."""
    found = plan(Demand(), Aims(), Ceilings(), costs)
    limits = {one.resource: one for one in found.limits}
    assert limits["hosts of a slot, mean"].hosts == 1_000_001
    assert limits["hosts of a slot, mean"].used == 1.0
    fullest = limits["hosts of the fullest slot"]
    assert fullest.kind == "ceiling"
    assert fullest.hosts is not None
    assert 1_600_000 < fullest.hosts < 2_000_000
    assert found.breaks is not None
    assert found.breaks.hosts is not None
    assert 1_000_000 < found.breaks.hosts <= fullest.hosts


def test_the_first_limit_is_the_scarcest_resource() -> None:
    """With Linux' own number of memory maps, it is they that end the plan, on its first day."""
    found = _plan(
        aims=Aims(replicas_per_broker=40_000), ceilings=Ceilings(maps=65_530, max_per_slot=64)
    )
    maps = next(one for one in found.limits if one.resource == "memory maps of a broker")
    assert maps.load <= maps.ceiling
    tight = _plan(ceilings=Ceilings(redis_memory_bytes=90e6))
    assert tight.breaks is not None
    assert tight.breaks.resource == "memory of Redis"
    assert tight.breaks.hosts == pytest.approx(90e6 / 77, rel=0.03)


def test_brokers_are_as_few_as_keep_their_bounds() -> None:
    """What bounds them is what one broker fewer would pass."""
    alone = _plan(Demand(hosts=1_000))
    assert (alone.given["brokers"], alone.brokers_bound_by) == (3, REPLICATION)
    many = _plan(aims=Aims(replicas_per_broker=5_000))
    assert many.brokers_bound_by == "partitions of a broker"
    assert many.value("replicas_on_broker") <= 5_000
    fewer = many.value("replicas_on_broker") * many.given["brokers"] / (many.given["brokers"] - 1)
    assert fewer > 5_000


def test_no_brokers_that_would_do_is_said() -> None:
    """A cluster whose agents alone are too much for any broker is not planned."""
    with pytest.raises(PlanError, match="CPU of a broker"):
        _plan(ceilings=Ceilings(broker_cores=0.000001))


def test_what_cannot_be_is_named_with_its_value() -> None:
    """All faults at once."""
    with pytest.raises(ConfigError) as raised:
        _plan(Demand(hosts=0, online=2), Aims(replication=0))
    assert {fault.place for fault in raised.value.faults} == {"hosts", "online", "replication"}


@settings(max_examples=25)
@given(
    hosts=st.integers(1, 5_000_000),
    azs=st.integers(1, 5),
    rate=st.floats(0, 0.002),
    per_slot=st.integers(1, 100),
)
def test_every_plan_keeps_its_aims_or_says_so(
    hosts: int, azs: int, rate: float, per_slot: int
) -> None:
    """Every host has room, each zone a cluster, and more hosts never need fewer clusters."""
    aims = replace(Aims(), hosts_per_slot=per_slot)
    ceilings = Ceilings(max_per_slot=2 * per_slot + 20)
    demand = Demand(hosts=hosts, azs=azs, changes_per_s=rate * hosts)
    found = _plan(demand, aims, ceilings)
    assert found.value("clusters") >= azs
    slots = found.value("clusters") * found.value("host_slots")
    assert slots * per_slot >= hosts
    assert found.value("host_topics") <= aims.topics_max
    assert all(one.used <= 1 for one in found.limits if one.resource.endswith("of a broker"))
    assert all((one.hosts or hosts + 1) > hosts for one in found.limits if one.used <= 1)
    grown = _plan(replace(demand, hosts=2 * hosts), aims, ceilings)
    assert grown.value("clusters") >= found.value("clusters")
    assert grown.value("redis_memory") > found.value("redis_memory")


def test_the_fullest_slot_is_what_allocation_makes_of_it() -> None:
    """The formula of two choices against the real allocation of 20,000 hosts: within two hosts."""
    found = _plan(Demand(hosts=20_000, azs=1), Aims(topics_max=40))
    pool = Pool(id="p", cluster="c", cls="host", topics=40, partitions=50, max_per_slot=100)
    held = Occupancy([pool])
    for number in range(20_000):
        held.allocate("host", f"host-{number}", [pool])
    assert found.value("fullest_slot") == pytest.approx(max(held.counts["p"]), abs=2)


def test_the_shipped_costs_say_where_they_come_from() -> None:
    """A document of the benchmark, with the command, the machine, the date, and how busy it was."""
    units = shipped()
    assert set(units.costs) == set(COSTS)
    assert units.provenance["measured by"].startswith("southbound bench units")
    assert units.provenance["at"][:2] == "20"
    assert "cores" in units.provenance["machine"]
    assert units.provenance["load average before and after"] != "not recorded"


def test_costs_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    """What is missing is named; so is a file that is something else."""
    file = tmp_path / "units.json"
    rows = [{"metric": "fetch_us", "value": 1.0, "unit": "us", "aim": ""}]
    file.write_bytes(msgspec.json.encode({"name": "units", "rows": rows, "at": "2026-01-01"}))
    with pytest.raises(ConfigError, match="broker_base_bytes"):
        read_units(file)
    file.write_bytes(b"[]")
    with pytest.raises(ConfigError, match="bench units"):
        read_units(file)
    with pytest.raises(ConfigError, match="units"):
        read_units(tmp_path / "none.json")


def test_costs_that_are_told_twice_are_refused(tmp_path: Path) -> None:
    """A key of an object, and a metric of two rows: each is named."""
    file = tmp_path / "units.json"
    file.write_bytes(
        b'{"name": "units", "at": "x", "rows": [{"metric": "fetch_us", "value": 1, "value": 2}]}'
    )
    with pytest.raises(ConfigError, match=r"'value' stands twice"):
        read_units(file)
    rows = [{"metric": name, "value": 1.0} for name in (*_COSTS, "fetch_us")]
    file.write_bytes(msgspec.json.encode({"name": "units", "rows": rows, "at": "2026-01-01"}))
    with pytest.raises(ConfigError, match=r"fetch_us.*twice"):
        read_units(file)


_NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
_NAMES = sorted(name for one in (Demand(), Aims(), Ceilings()) for name in asdict(one))


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(_NAMES), _NUMBERS, min_size=1, max_size=4))
def test_any_numbers_make_a_plan_or_are_refused_by_name(numbers: dict[str, float]) -> None:
    """Endless ones, none at all, the smallest that there are: no arithmetic of ours shows through."""

    def own(kind: type[Any]) -> Any:
        known = asdict(kind())
        return kind(**{name: value for name, value in numbers.items() if name in known})

    refused: ConfigError | None = None
    try:
        assert plan(own(Demand), own(Aims), own(Ceilings), _COSTS).shape
    except ConfigError as error:
        refused = error
    except PlanError as error:
        event(str(error)[:40])
    assert refused is None or {fault.place for fault in refused.faults} <= numbers.keys()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
@pytest.mark.parametrize("name", ["changes_per_s", "hosts"])
def test_what_is_no_number_of_anything_is_refused(name: str, value: float) -> None:
    """Such as a rate below nought."""
    with pytest.raises(ConfigError, match=name):
        _plan(replace(Demand(), **{name: value}))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b'{"a":' * 5_000,
        b'{"name": "\xff"}',
        b'{"rows": [{"metric": "m", "value": 1e999}]}',
    ],
    ids=["no text", "deep", "no UTF-8", "endless"],
)
def test_a_file_that_holds_no_unit_costs_is_named(tmp_path: Path, content: bytes) -> None:
    """Whatever it is."""
    file = tmp_path / "units.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"units\.json"):
        read_units(file)


def test_a_file_without_end_is_no_file_of_unit_costs() -> None:
    """It is read as far as the largest may be."""
    with pytest.raises(ConfigError, match="at most"):
        read_units(Path("/dev/zero"))

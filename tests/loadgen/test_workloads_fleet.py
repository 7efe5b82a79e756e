"""A fleet is the same for everybody who makes it, whole, valid, and small at a million hosts."""

from __future__ import annotations

import time
import tracemalloc
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.workloads.fleet import Fleet, FleetShape
from loadgen.workloads.sizes import VpcSizes
from southbound.documents.kinds import validate_spec
from southbound.errors import ConfigError
from southbound.resources import KINDS, Changeset, ScopeClass, references


@st.composite
def shapes(draw: st.DrawFn) -> FleetShape:
    """Small fleets of every shape."""
    together = draw(st.sampled_from([1, 2, 5]))
    local = together * draw(st.integers(0, 4))
    azs = draw(st.integers(1, 4))
    return FleetShape(
        hosts=draw(st.integers(azs, 40)),
        vms_per_host=local + together * draw(st.integers(0 if local else 1, 4)),
        azs=tuple(f"az-{number}" for number in range(azs)),
        seed=draw(st.integers(0, 2**40)),
        sizes=VpcSizes(smallest=draw(st.integers(1, 5)), largest=draw(st.integers(5, 400))),
        local_vms=local,
        together=together,
        dhcp=draw(st.booleans()),
    )


def _everything(fleet: Fleet) -> list[Changeset]:
    return [
        *(fleet.vpc_changeset(j, 1) for j in range(fleet.vpcs)),
        *(fleet.host_changeset(i, 1) for i in range(fleet.hosts)),
    ]


@given(shapes())
@settings(max_examples=30)
def test_two_fleets_of_one_shape_are_the_same(shape: FleetShape) -> None:
    """Workers that share the shape alone publish and expect the same."""
    assert _everything(Fleet(shape)) == _everything(Fleet(shape))


@given(shapes())
@settings(max_examples=60)
def test_hosts_and_vpcs_tell_the_same_story(shape: FleetShape) -> None:
    """Each port has one host and one VPC, and both sides find it; sizes sum to the ports."""
    fleet = Fleet(shape)
    by_vpc: dict[int, dict[int, int]] = defaultdict(dict)
    for i in range(fleet.hosts):
        ports = fleet.ports(i)
        assert [port.number for port in ports] == list(
            range(i * shape.vms_per_host, (i + 1) * shape.vms_per_host)
        )
        assert fleet.host_vpcs(i) == tuple(sorted({port.vpc for port in ports}))
        for port in ports:
            assert fleet.host_of(port.number) == i
            assert by_vpc[port.vpc].setdefault(port.ordinal, i) == i
            assert fleet.vpc_port(port.vpc, port.ordinal) == port
    assert set(by_vpc) == set(range(fleet.vpcs))
    for j, ordinals in by_vpc.items():
        assert set(ordinals) == set(range(fleet.vpc_ports(j)))
        assert Counter(fleet.vpc_hosts(j)) == Counter(set(ordinals.values()))
    assert sum(fleet.vpc_ports(j) for j in range(fleet.vpcs)) == fleet.port_count


@given(shapes())
@settings(max_examples=30)
def test_every_spec_is_one_that_publishers_accept(shape: FleetShape) -> None:
    """No spec has a fault, and kinds stand in scopes of their class."""
    fleet = Fleet(shape)
    resources = [resource for changeset in _everything(fleet) for resource in changeset.resources]
    resources += [fleet.neighbor(port, 3) for i in range(fleet.hosts) for port in fleet.ports(i)]
    for resource in resources:
        assert validate_spec(resource.kind, resource.spec) == []
        assert KINDS[resource.kind].cls is resource.scope.cls
    assert len({resource.key for resource in resources}) == len(resources)


@given(shapes())
@settings(max_examples=30)
def test_nothing_refers_to_what_is_not_there(shape: FleetShape) -> None:
    """Every reference of a port, rule, subnet or neighbour leads to a resource of the fleet."""
    changesets = _everything(Fleet(shape))
    keys = {resource.key for changeset in changesets for resource in changeset.resources}
    named = {
        key
        for changeset in changesets
        for resource in changeset.resources
        for key in references(resource.key, resource.spec)
    }
    assert named <= keys
    assert any(key.scope.cls is ScopeClass.VPC for key in named)


@given(shapes())
@settings(max_examples=40)
def test_local_vpcs_keep_to_their_az(shape: FleetShape) -> None:
    """The first `local_vms` of each host are in VPCs that no other AZ has."""
    fleet = Fleet(shape)
    for i in range(fleet.hosts):
        assert i in fleet.az_hosts(fleet.az(i))
        for port in fleet.ports(i)[: shape.local_vms]:
            assert {fleet.az(host) for host in fleet.vpc_hosts(port.vpc)} == {fleet.az(i)}
    assert [i for az in shape.azs for i in fleet.az_hosts(az)] == list(range(fleet.hosts))


def test_ports_stand_together_where_asked() -> None:
    """With `together` equal to the VMs, large VPCs fill hosts and a host has few VPCs."""
    fleet = Fleet(FleetShape(hosts=500, together=20, sizes=VpcSizes(smallest=20)))
    assert max(len(fleet.host_vpcs(i)) for i in range(500)) <= 2
    assert len(list(fleet.vpc_hosts(0))) <= fleet.vpc_ports(0) // 20 + 1


def test_ids_are_short_and_lead_back() -> None:
    """Ids are those of the documentation; an id that is not of the fleet is refused with its name."""
    fleet = Fleet(FleetShape(hosts=100))
    assert (fleet.host(42), fleet.vpc(17)) == ("h0000042", "v000017")
    assert fleet.ports(42)[0].id == "p0000000840"
    assert fleet.index_of("h0000042") == 42
    assert fleet.vpc_index_of("v000017") == 17
    for stranger in ("h0000100", "h42", "x0000042", "", "h-000001"):
        with pytest.raises(ConfigError, match="host"):
            fleet.index_of(stranger)
    with pytest.raises(ConfigError, match="vpc"):
        fleet.vpc_index_of("v999999")


def test_part_of_a_host_can_be_published_alone() -> None:
    """A range of VM numbers gives their ports, under another changeset id."""
    fleet = Fleet(FleetShape(hosts=10))
    part = fleet.host_changeset(3, 7, range(2, 4))
    whole = fleet.host_changeset(3, 7)
    assert part.resources == whole.resources[2:4]
    assert part.id != whole.id
    assert {resource.revision for resource in part.resources} == {7}


def test_a_million_hosts_cost_next_to_nothing() -> None:
    """Twenty million ports in 1.4 million VPCs are there in a moment, in less than a megabyte."""
    tracemalloc.start()
    try:
        began = time.monotonic()
        fleet = Fleet(FleetShape(hosts=1_000_000))
        took_s = time.monotonic() - began
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert took_s < 5.0
    assert held < 1 << 20
    assert fleet.port_count == 20_000_000
    giants = [j for j in range(100) if fleet.vpc_ports(j) == 100_000]
    assert len(giants) >= 5
    assert fleet.vpc_ports(fleet.vpc_near(10_000)) == pytest.approx(10_000, rel=0.01)
    for i in (0, 123_456, 999_999):
        assert all(fleet.vpc_port(port.vpc, port.ordinal) == port for port in fleet.ports(i))
    assert len({fleet.vpc_port(0, ordinal).address for ordinal in range(100_000)}) == 100_000


def test_an_impossible_shape_names_its_faults() -> None:
    """Each wrong field is named."""
    with pytest.raises(ConfigError) as error:
        FleetShape(hosts=0, azs=(), vms_per_host=2, local_vms=3)
    assert {fault.place for fault in error.value.faults} == {"hosts", "azs", "local_vms"}
    with pytest.raises(ConfigError, match="together"):
        FleetShape(hosts=1, azs=("a",), vms_per_host=20, together=3)

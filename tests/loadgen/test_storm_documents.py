"""Documents carry to each node what streams carry to it, and the formulas count what they weigh."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.storm import documents
from loadgen.storm.expected import Expected, digest_of_held
from loadgen.storm.formulas import REVISION, Burden, Cost, Crowd, burdens
from loadgen.workloads.fleet import Fleet, FleetShape


def _fleet(hosts: int = 12, seed: int = 1) -> Fleet:
    return Fleet(FleetShape(hosts=hosts, vms_per_host=4, seed=seed, neighbors_max=10))


def _parts(fleet: Fleet) -> tuple[documents.Parts, documents.Parts]:
    hosts = {
        fleet.host(i): documents.part(documents.of_host(fleet, i, REVISION))
        for i in range(fleet.hosts)
    }
    vpcs = {
        fleet.vpc(j): documents.part(documents.of_vpc(fleet, j, REVISION))
        for j in range(fleet.vpcs)
    }
    return documents.raw(hosts), documents.raw(vpcs)


@given(st.integers(3, 20), st.integers(0, 1_000))
@settings(max_examples=20)
def test_each_node_finds_its_own_in_both_documents(hosts: int, seed: int) -> None:
    """From the document with everything and from its own it takes the same, and that is all of it."""
    fleet = _fleet(hosts, seed)
    expected = Expected(fleet, REVISION)
    parts, vpcs = _parts(fleet)
    whole = documents.write_whole(REVISION, parts, vpcs)
    for i in range(fleet.hosts):
        host = fleet.host(i)
        mine = {vpc: vpcs[vpc] for vpc in documents.vpcs_of(parts[host])}
        assert set(mine) == {fleet.vpc(j) for j in fleet.host_vpcs(i)}
        found = documents.take_whole(whole, host)
        assert found == documents.take_own(documents.write_own(REVISION, parts[host], mine))
        assert sum(map(len, found.values())) == expected.resources(i)
        assert digest_of_held(host, found) == expected.digest(i)


def test_a_stranger_has_no_part() -> None:
    """A host that is not in the document is told so."""
    whole = documents.write_whole(REVISION, *_parts(_fleet()))
    with pytest.raises(KeyError):
        documents.take_whole(whole, "h9999999")


def test_another_revision_has_another_digest() -> None:
    """What a node must hold depends on the revision, not on how much it is."""
    one, other = Expected(_fleet(), 1), Expected(_fleet(), 2)
    assert one.digest(3) != other.digest(3)
    assert one.resources(3) == other.resources(3)


def test_computed_bytes_are_those_of_real_documents() -> None:
    """Where samples cover the fleet, formulas and documents differ by ids and lengths alone."""
    fleet = _fleet(40)
    parts, vpcs = _parts(fleet)
    found = burdens(fleet, Crowd(9.0, 9.0, 10.0, 3))
    whole = documents.write_whole(REVISION, parts, vpcs)
    assert found.broadcast.each == pytest.approx(len(whole), rel=0.03)
    own = [
        len(
            documents.write_own(REVISION, part, {vpc: vpcs[vpc] for vpc in documents.vpcs_of(part)})
        )
        for part in parts.values()
    ]
    assert found.polling.each == pytest.approx(sum(own) / len(own), rel=0.05)
    assert found.polling.total == pytest.approx(found.polling.each * 40)


def test_nobody_else_in_a_slot_costs_nothing() -> None:
    """With a slot for each host and VPC a node reads what it needs; with others in it, more."""
    fleet = _fleet(40)
    alone = burdens(fleet, Crowd(0.0, 0.0, 1e-6, 3))
    crowded = burdens(fleet, Crowd(9.0, 9.0, 10.0, 3))
    assert alone.streams.each == pytest.approx(alone.needed, rel=1e-3)
    assert crowded.streams.each > 2 * crowded.needed


@given(st.integers(1, 10**7), st.floats(1, 30), st.floats(0, 20), st.floats(0.1, 20))
def test_strangers_are_never_more_than_there_are(
    vpcs: int, followed: float, others: float, filled: float
) -> None:
    """Two VPCs of a node in one slot are read together: at most a slot for each, none below none."""
    found = Crowd(0.0, others, filled, 3).strangers(vpcs, followed)
    assert 0 <= found <= followed * (others + 1)


def test_time_grows_with_nodes_and_with_bytes() -> None:
    """Ten times the nodes with three times the bytes each take thirty times as long."""
    cost = Cost(seconds=2.0, nodes=100, bytes_each=1_000.0)
    assert cost.seconds_for(Burden(1_000.0, 100)) == pytest.approx(2.0)
    assert cost.seconds_for(Burden(3_000.0, 1_000)) == pytest.approx(60.0)


def test_a_storm_of_a_million_nodes_is_computed_from_samples() -> None:
    """The document with everything has gigabytes; a node's streams and own document do not grow so."""
    fleet = Fleet(FleetShape(hosts=1_000_000, local_vms=20, neighbors_max=100))
    found = burdens(fleet, Crowd(9.0, 9.0, 10.0, 3))
    assert found.broadcast.each > 4e9
    assert found.streams.each < 2e6
    assert found.polling.each < found.streams.each

"""What is refused before anything is sent, and how a changeset is split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from southbound.documents.kinds import validate_spec
from southbound.errors import InvalidResource
from southbound.producer.checks import parcels_of
from southbound.resources import (
    PUBLIC_SCOPE,
    Changeset,
    Op,
    Resource,
    ResourceKey,
    Scope,
    host_scope,
    vpc_scope,
)
from southbound.wire.envelope import EMPTY_SPEC, RECORD_BYTES_MAX, decode_spec
from southbound.wire.keys import decode_key

HOST = host_scope("host-1")
VPC = vpc_scope("vpc-1")


def _port(id: str = "p", **changes: Any) -> Resource:
    fields = {"scope": HOST, "kind": "port", "id": id, "revision": 1, "spec": {"vpc_id": "vpc-1"}}
    return Resource(**{**fields, **changes})


def _faults(*resources: Resource, id: str = "set") -> list[str]:
    with pytest.raises(InvalidResource) as caught:
        parcels_of(Changeset(id, resources), 0, validate_spec)
    return [fault.place for fault in caught.value.faults]


def test_one_part_for_each_scope() -> None:
    """Parts keep the order of their resources, and each knows the VPCs of its ports."""
    changeset = Changeset(
        "launch",
        (
            _port("p1"),
            Resource(VPC, "neighbor", "n1", 4, {"ip_address": "10.0.0.1"}),
            _port("p2", spec={"vpc_id": "vpc-2"}),
            Resource(PUBLIC_SCOPE, "elb", "e1", 2, {"name": "x"}),
        ),
    )
    parcels = parcels_of(changeset, 7, None)
    assert [parcel.scope for parcel in parcels] == [HOST, VPC, PUBLIC_SCOPE]
    assert [decode_key(record.key).id for record in parcels[0].records] == ["p1", "p2"]
    assert parcels[0].vpcs == ("vpc-1", "vpc-2")
    assert parcels[1].vpcs == ()
    assert all(parcel.sent_us == 7 for parcel in parcels)


def test_records_hold_what_was_given() -> None:
    """Key, revision and spec arrive as they are; a delete carries an empty spec."""
    gone = Resource(HOST, "port", "p2", 9, {}, Op.DELETE)
    upsert, delete = parcels_of(Changeset("c", (_port(), gone)), 0, validate_spec)[0].records
    assert decode_key(upsert.key) == ResourceKey(HOST, "port", "p")
    assert decode_spec(upsert.spec) == {"vpc_id": "vpc-1"}
    assert (delete.op, delete.revision, delete.spec) == (Op.DELETE, 9, EMPTY_SPEC)


@pytest.mark.parametrize(
    ("resource", "place"),
    [
        (_port(id=""), "resources[0].id"),
        (_port(id="a\nb"), "resources[0].id"),
        (_port(kind=""), "resources[0].kind"),
        (_port(kind="!seal"), "resources[0].kind"),
        (_port(revision=0), "resources[0].revision"),
        (_port(revision=2**63), "resources[0].revision"),
        (_port(revision=True), "resources[0].revision"),
        (_port(scope=host_scope("")), "resources[0].host"),
        (_port(scope=VPC), "resources[0].scope"),
        (_port(spec={"vpc_id": 5}), "resources[0].spec.vpc_id"),
        (_port(op=Op.DELETE), "resources[0].spec"),
    ],
)
def test_a_fault_names_its_place(resource: Resource, place: str) -> None:
    """The error says where in the changeset, and only there."""
    assert _faults(resource) == [place]


def test_all_faults_are_gathered() -> None:
    """One error names everything that is wrong, the changeset's own id too."""
    places = _faults(_port(id=""), _port(), _port(), id="\x00")
    assert places == ["changeset.id", "resources[0].id", "resources[2]"]
    assert _faults() == ["changeset.resources"]


def test_unknown_kinds_go_into_any_scope() -> None:
    """A kind that Southbound does not know is carried as it is."""
    for scope in (HOST, VPC, PUBLIC_SCOPE):
        resource = Resource(scope, "meter", "m", 1, {"x": [1, {"y": None}]})
        assert parcels_of(Changeset("c", (resource,)), 0, validate_spec)[0].scope == scope


@pytest.mark.parametrize("spec", [{"n": 2**70}, {"o": object()}])
def test_a_spec_that_cannot_be_carried_is_refused(spec: Mapping[str, Any]) -> None:
    """What msgpack cannot hold is named before anything is sent."""
    with pytest.raises(InvalidResource, match="spec"):
        parcels_of(Changeset("c", (_port(kind="meter", spec=spec),)), 0, None)


def test_a_record_too_large_is_refused() -> None:
    """The limit is on key and value together; just below it passes."""
    fits = {"x": "a" * (RECORD_BYTES_MAX - 200)}
    assert parcels_of(Changeset("c", (_port(kind="meter", spec=fits),)), 0, None)
    large = {"x": "a" * RECORD_BYTES_MAX}
    with pytest.raises(InvalidResource, match="too large"):
        parcels_of(Changeset("c", (_port(kind="meter", spec=large),)), 0, None)


def test_scopes_of_equal_ids_are_not_mixed() -> None:
    """A host and a VPC may have the same id."""
    both = (
        Resource(Scope(HOST.cls, "same"), "meter", "m", 1, {}),
        Resource(Scope(VPC.cls, "same"), "meter", "m", 1, {}),
    )
    assert len(parcels_of(Changeset("c", both), 0, None)) == 2

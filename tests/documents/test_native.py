"""Southbound's own documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.documents.changesets import content_id
from southbound.documents.document import Document
from southbound.documents.native import read_native
from southbound.documents.reading import read_texts
from southbound.errors import ConfigError, Fault
from southbound.resources import PUBLIC_SCOPE, Changeset, Op, Resource, host_scope, vpc_scope

VPC = {"kind": "vpc", "id": "v1", "revision": 1, "spec": {"cidr": "10.0.0.0/16"}}
PORT = {
    "kind": "port",
    "host": "h1",
    "id": "p1",
    "revision": 2,
    "spec": {"vpc_id": "v1", "x": [1, None]},
}


def read(value: Any) -> Changeset:
    """Read one sound document."""
    changeset, faults = read_native(Document("file", value))
    assert faults == []
    assert changeset is not None
    return changeset


def faults_of(value: Any) -> list[Fault]:
    """Return the faults of a document that is refused."""
    changeset, faults = read_native(Document("file", value))
    assert changeset is None
    return faults


def test_a_changeset() -> None:
    """Every field of a document becomes what it says, the spec unaltered."""
    changeset = read(
        {
            "changeset": "c1",
            "resources": [
                VPC,
                PORT,
                {"kind": "subnet", "vpc": "v1", "id": "s1", "revision": 9, "op": "delete"},
                {"kind": "elb", "id": "e1", "revision": 1, "spec": {}},
                {
                    "kind": "flow_log",
                    "class": "vpc",
                    "vpc": "v1",
                    "id": "f1",
                    "revision": 1,
                    "spec": {"rate": 0.5},
                },
            ],
        }
    )
    assert changeset == Changeset(
        "c1",
        (
            Resource(vpc_scope("v1"), "vpc", "v1", 1, {"cidr": "10.0.0.0/16"}),
            Resource(host_scope("h1"), "port", "p1", 2, {"vpc_id": "v1", "x": [1, None]}),
            Resource(vpc_scope("v1"), "subnet", "s1", 9, {}, Op.DELETE),
            Resource(PUBLIC_SCOPE, "elb", "e1", 1, {}),
            Resource(vpc_scope("v1"), "flow_log", "f1", 1, {"rate": 0.5}),
        ),
    )


def test_a_resource_alone_is_a_document() -> None:
    """One resource a line needs no list around it; it may still name its changeset."""
    assert read(PORT).resources == read({"resources": [PORT]}).resources
    assert read({**PORT, "changeset": "mine"}).id == "mine"


def test_the_vpc_may_stand_in_the_spec() -> None:
    """A VPC-scoped resource is found by `vpc_id` when nothing else names its VPC."""
    subnet = {
        "kind": "subnet",
        "id": "s",
        "revision": 1,
        "spec": {"vpc_id": "v7", "cidr": "10.0.0.0/8"},
    }
    assert read(subnet).resources[0].scope == vpc_scope("v7")


def test_an_id_that_follows_from_the_content() -> None:
    """The same content has the same id, other content another; order of fields does not matter."""
    one = read({"resources": [VPC, PORT]})
    same = read({"resources": [dict(reversed(VPC.items())), PORT]})
    other = read({"resources": [VPC, {**PORT, "revision": 3}]})
    assert one.id == same.id == content_id(one.resources)
    assert one.id != other.id
    assert len(one.id) == 34


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"kind": None}, "kind"),
        ({"kind": "!seal"}, "kind"),
        ({"kind": "flow_log"}, "kind"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": "ä" * 128}, "id"),
        ({"revision": 0}, "revision"),
        ({"revision": True}, "revision"),
        ({"revision": "4"}, "revision"),
        ({"revision": 2**63}, "revision"),
        ({"op": "create"}, "op"),
        ({"op": "delete"}, "spec"),
        ({"spec": []}, "spec"),
        ({"spec": {"vpc_id": "v1", "mac_address": "x"}}, "spec.mac_address"),
        ({"host": None}, "host"),
        ({"host": ["h1"]}, "host"),
        ({"vpc": "v1"}, "vpc"),
        ({"class": "vpc"}, "class"),
        ({"class": "galaxy"}, "class"),
        ({"tag": 1}, "tag"),
    ],
)
def test_each_fault_is_named(change: dict[str, Any], place: str) -> None:
    """A wrong field is named with the document and its place."""
    faults = faults_of({"resources": [VPC, {**PORT, **change}]})
    assert f"file, resources[1].{place}" in [fault.place for fault in faults]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([], "file"),
        ("text", "file"),
        ({"resources": []}, "file, resources"),
        ({"resources": {}}, "file, resources"),
        ({"changeset": "c"}, "file, resources"),
        ({"resources": [VPC], "change_set": "c"}, "file, change_set"),
        ({"resources": [VPC], "changeset": 5}, "file, changeset"),
        ({"resources": [VPC, "vpc"]}, "file, resources[1]"),
        ({"resources": [VPC, VPC]}, "file, resources"),
        ({"resources": [{**VPC, "vpc": "v2"}]}, "file, resources[0].vpc"),
        (
            {
                "resources": [
                    {
                        "kind": "subnet",
                        "vpc": "a",
                        "id": "s",
                        "revision": 1,
                        "spec": {"vpc_id": "b", "cidr": "10.0.0.0/8"},
                    }
                ]
            },
            "file, resources[0].spec.vpc_id",
        ),
        ({"kind": "subnet", "id": "s", "revision": 1, "op": "delete"}, "file, vpc"),
    ],
)
def test_documents_that_are_refused(value: Any, place: str) -> None:
    """A document's own faults are named too."""
    assert place in [fault.place for fault in faults_of(value)]


def test_all_faults_come_at_once() -> None:
    """Five mistakes in two resources are five faults."""
    wrong = [
        {**PORT, "id": "", "revision": 0},
        {**PORT, "host": "", "op": "x", "spec": {"vpc_id": 1}},
    ]
    assert len(faults_of({"resources": wrong})) == 5


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
_RESOURCE = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["vpc", "port", "neighbor", "elb", "odd", "!seal"]) | _ODD,
        "class": st.sampled_from(["host", "vpc", "public"]) | _ODD,
        "host": st.just("h") | _ODD,
        "vpc": st.just("v") | _ODD,
        "id": st.text(max_size=5) | _ODD,
        "revision": st.integers() | _ODD,
        "op": st.sampled_from(["upsert", "delete"]) | _ODD,
        "spec": st.dictionaries(
            st.sampled_from(["vpc_id", "mac_address", "fixed_ips", "n"]), _ODD, max_size=3
        )
        | _ODD,
        "more": _ODD,
    },
)
_DOCUMENT = (
    st.fixed_dictionaries(
        {"resources": st.lists(_RESOURCE, max_size=4) | _ODD}, optional={"changeset": _ODD}
    )
    | _RESOURCE
    | _ODD
)


@given(_DOCUMENT)
def test_any_document_is_a_changeset_or_faults(value: Any) -> None:
    """Whatever a document holds: a changeset without faults, or faults without a changeset."""
    changeset, faults = read_native(Document("file", value))
    assert (changeset is None) == bool(faults)
    assert all(str(fault).startswith("file") for fault in faults)


@given(st.lists(_DOCUMENT, max_size=3))
def test_any_file_is_imported_or_refused(documents: list[Any]) -> None:
    """The same through JSON text: an import, or a `ConfigError` that names at least one fault."""
    text = "\n".join(json.dumps(document) for document in documents)
    try:
        imported = read_texts([("file", text.encode("utf-8", "surrogatepass"))])
    except ConfigError as error:
        outcome = len(error.faults)
    else:
        outcome = 1
        assert len({changeset.id for changeset in imported.changesets}) == len(imported.changesets)
    assert outcome


@given(st.text(max_size=80))
def test_any_yaml_is_imported_or_refused(text: str) -> None:
    """Text that begins like a document ends in an import or in a `ConfigError`."""
    data = f"resources: {text}".encode("utf-8", "surrogatepass")
    try:
        read_texts([("file", data)])
    except ConfigError as error:
        problems = len(error.faults)
    else:
        problems = 0
    assert problems > 0

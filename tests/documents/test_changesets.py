"""Putting resources into changesets."""

from __future__ import annotations

from southbound.documents.changesets import by_scope, content_id
from southbound.resources import PUBLIC_SCOPE, Resource, host_scope, vpc_scope


def neighbor(number: int) -> Resource:
    """Return a neighbor of one VPC."""
    return Resource(vpc_scope("v"), "neighbor", f"n{number}", 1, {"ip_address": "10.0.0.1"})


def test_one_scope_each_in_order_of_rank() -> None:
    """VPCs come first, then hosts, then public resources one by one; within a scope rank decides."""
    resources = [
        Resource(PUBLIC_SCOPE, "eip", "e1", 1),
        Resource(host_scope("h"), "port", "p", 1),
        Resource(PUBLIC_SCOPE, "eip", "e2", 1),
        neighbor(1),
        Resource(vpc_scope("v"), "vpc", "v", 1),
        Resource(host_scope("h"), "router", "r", 1),
    ]
    made = by_scope(resources, resources_max=10)
    assert [[item.id for item in changeset.resources] for changeset in made] == [
        ["v", "n1"],
        ["r", "p"],
        ["e1"],
        ["e2"],
    ]


def test_large_scopes_are_cut() -> None:
    """No changeset holds more than it may, and none of the resources is lost."""
    made = by_scope([neighbor(n) for n in range(25)], resources_max=10)
    assert [len(changeset.resources) for changeset in made] == [10, 10, 5]
    assert len({changeset.id for changeset in made}) == 3


def test_an_id_is_the_same_for_ever() -> None:
    """The id of a content is fixed, since an agent knows a changeset by it across restarts."""
    resource = Resource(
        host_scope("h1"), "port", "p1", 3, {"vpc_id": "v1", "b": 1, "a": [None, 2.5]}
    )
    assert content_id([resource]) == "c-57df14b25814d6b5de9d605aff6e4f58"

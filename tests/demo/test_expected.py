"""The plain statement of who gets what."""

from __future__ import annotations

from typing import Any

from southbound.demo.expected import Published, differences
from southbound.resources import PUBLIC_SCOPE, Changeset, Op, Resource, host_scope, vpc_scope


def _published(*resources: Resource) -> Published:
    published = Published()
    published.add([Changeset("set", resources)])
    return published


def _port(host: str, vpc: str, revision: int = 1, **spec: Any) -> Resource:
    return Resource(host_scope(host), "port", "port-a", revision, {"vpc_id": vpc, **spec})


VPC = Resource(vpc_scope("v1"), "vpc", "v1", 1, {"name": "one"})
OTHER = Resource(vpc_scope("v2"), "vpc", "v2", 1, {"name": "two"})


def test_a_host_gets_its_own_and_its_vpcs() -> None:
    """A port brings its VPC; other hosts' ports and other VPCs stay away."""
    published = _published(_port("h1", "v1"), VPC, OTHER)
    assert {key.id for key in published.of_host("h1")} == {"port-a", "v1"}
    assert published.of_host("h2") == {}


def test_the_highest_revision_stands() -> None:
    """Order of publishing does not matter; a delete takes away, and the VPC goes with the port."""
    newer = _port("h1", "v1", 3, name="new")
    published = _published(newer, _port("h1", "v1", 2, name="old"), VPC)
    assert published.of_host("h1")[newer.key] == (3, {"vpc_id": "v1", "name": "new"})
    published.add([Changeset("gone", (Resource(newer.scope, "port", "port-a", 4, {}, Op.DELETE),))])
    assert published.of_host("h1") == {}


def test_what_refers_to_nothing_waits() -> None:
    """A resource whose reference is missing stands nowhere, nor does what refers to it in turn."""
    subnet = Resource(vpc_scope("v1"), "subnet", "s1", 1, {"vpc_id": "v1"})
    port = _port("h1", "v1", fixed_ips=[{"subnet_id": "s1", "ip_address": "10.0.0.1"}])
    assert _published(port, subnet).of_host("h1") == {}
    assert len(_published(port, subnet, VPC).of_host("h1")) == 3


def test_workers_share_a_kind() -> None:
    """All of a kind that was not deleted, and nothing of another."""
    elb, eip = (Resource(PUBLIC_SCOPE, kind, f"{kind}-1", 1, {}) for kind in ("elb", "eip"))
    assert _published(elb, eip).of_workers("elb") == {elb.key: (1, {})}


def test_every_difference_is_said() -> None:
    """Missing, foreign, another revision, another content; equal states say nothing."""
    one, two, three = (Resource(vpc_scope("v"), "vpc", name, 1, {}).key for name in "abc")
    expected = {one: (2, {"x": 1}), two: (1, {"x": 1})}
    assert differences(expected, dict(expected)) == []
    found = {one: (1, {"x": 1}), three: (1, {})}
    assert differences(expected, found) == [
        f"foreign {three}",
        f"missing {two}",
        f"{one} is at revision 1, not 2",
    ]
    assert differences({two: (1, {"x": 1})}, {two: (1, {"x": 2})}) == [
        f"{two} has another content at revision 1"
    ]

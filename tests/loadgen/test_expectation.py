"""What must stand after changesets, worked out by hand beside what the module says."""

from __future__ import annotations

from loadgen.expectation import Expectation, digest_of_changeset, parts_of_changeset
from loadgen.nodes.digest import MASK, hash_of
from southbound.resources import Changeset, Op, Resource, Scope, host_scope, vpc_scope
from southbound.wire.envelope import encode_spec
from southbound.wire.keys import record_key

_HOST = host_scope("h1")
_VPC = vpc_scope("v1")


def _port(revision: int, name: str = "a", op: Op = Op.UPSERT) -> Resource:
    spec = {} if op is Op.DELETE else {"vpc_id": "v1", "name": f"{name}{revision}"}
    return Resource(_HOST, "port", name, revision, spec, op)


def _hash(resource: Resource) -> int:
    key = record_key(resource.scope, resource.kind, resource.id)
    return hash_of(key, resource.revision, encode_spec(resource.spec))


def test_a_changeset_is_the_sum_of_what_it_puts_up() -> None:
    """Deletes add nothing, and every resource is known by its record key."""
    put, gone = _port(1), _port(2, "b", Op.DELETE)
    changeset = Changeset("c", (put, gone))
    assert digest_of_changeset(changeset) == _hash(put)
    assert parts_of_changeset(changeset) == {
        record_key(_HOST, "port", "a"): (1, _hash(put)),
        record_key(_HOST, "port", "b"): (2, 0),
    }


def test_the_highest_revision_stands_whatever_came_last() -> None:
    """Older and equal revisions change nothing; a delete ends a resource until a newer one."""
    expected = Expectation(lambda _scope: True)
    for resource in (_port(3), _port(2), _port(3)):
        expected.take(Changeset("c", (resource,)))
    assert expected.digest([_HOST]) == _hash(_port(3))
    expected.take(Changeset("c", (_port(4, op=Op.DELETE),)))
    assert expected.digest([_HOST]) == 0
    assert expected.vpcs_of("h1") == set()
    expected.take(Changeset("c", (_port(5),)))
    assert expected.digest([_HOST]) == _hash(_port(5))
    assert expected.vpcs_of("h1") == {"v1"}


def test_scopes_add_up_and_unwanted_ones_are_not_kept() -> None:
    """A node's digest is that of its host's scope and its VPCs'."""
    group = Resource(_VPC, "security_group", "g", 1, {"name": "g"})
    port = _port(1)

    def is_wanted(scope: Scope) -> bool:
        return scope == _VPC

    every, some = Expectation(lambda _scope: True), Expectation(is_wanted)
    for expected in (every, some):
        expected.take(Changeset("c", (port, group)))
    assert every.digest([_HOST, _VPC]) == (_hash(port) + _hash(group)) & MASK
    assert some.digest([_HOST, _VPC]) == _hash(group)
    assert some.vpcs_of("h1") == set()

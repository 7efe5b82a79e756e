"""Judging a changeset before anything of it is sent, and splitting it into parts.

The rule: every fault is gathered and named with its place, and a changeset with one is refused
whole: nothing is sent, nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from southbound.errors import Fault, InvalidResource
from southbound.producer.core import Parcel, Record
from southbound.resources import (
    KINDS,
    PORT,
    Changeset,
    Op,
    Resource,
    ResourceKey,
    Scope,
    ScopeClass,
    vpc_of_port,
)
from southbound.wire.envelope import EMPTY_SPEC, RECORD_BYTES_MAX, encode_spec
from southbound.wire.keys import RESERVED, id_problem, record_key

SpecJudge = Callable[[str, Mapping[str, Any], str], list[Fault]]
"""Says what is wrong with the spec of a kind, given the place to name."""

_REVISION_MAX = 2**63 - 1
_CHARACTER_BYTES_MAX = 4
_ENVELOPE_BYTES_MAX = 64
"""What an envelope adds to its changeset's id and its spec."""


def parcels_of(
    changeset: Changeset, sent_us: int, judge_spec: SpecJudge | None
) -> tuple[Parcel, ...]:
    """Return a changeset's parts, one for each scope. Raises `InvalidResource` naming every fault."""
    faults: list[Fault] = []
    problem = id_problem(changeset.id)
    if problem is not None:
        faults.append(Fault("changeset.id", changeset.id, problem))
    elif not changeset.resources:
        faults.append(Fault("changeset.resources", (), "must hold at least one resource"))
    for index, resource in enumerate(changeset.resources):
        faults += _faults(resource, index, judge_spec)
    if len(changeset.resources) > 1:
        faults.extend(_repeated(changeset.resources))
    if faults:
        raise InvalidResource(f"the changeset {changeset.id!r} cannot be published", faults)
    if len(changeset.resources) == 1:
        scope = changeset.resources[0].scope
        return (_parcel(changeset.id, scope, changeset.resources, sent_us),)
    parts: dict[Scope, list[Resource]] = {}
    for resource in changeset.resources:
        parts.setdefault(resource.scope, []).append(resource)
    return tuple([_parcel(changeset.id, scope, part, sent_us) for scope, part in parts.items()])


def _repeated(resources: Sequence[Resource]) -> Iterator[Fault]:
    seen: set[ResourceKey] = set()
    for index, resource in enumerate(resources):
        if resource.key in seen:
            yield Fault(f"resources[{index}]", str(resource.key), "stands twice")
        seen.add(resource.key)


def _faults(resource: Resource, index: int, judge_spec: SpecJudge | None) -> list[Fault]:
    faults = [] if _is_sound(resource) else _identity_faults(resource, f"resources[{index}]")
    if resource.op is Op.DELETE:
        if resource.spec:
            place = f"resources[{index}].spec"
            faults.append(Fault(place, resource.spec, "must be empty in a delete"))
    elif judge_spec is not None and resource.kind in KINDS:
        found = judge_spec(resource.kind, resource.spec, "spec")
        if found:
            at = f"resources[{index}]."
            faults.extend([Fault(at + one.place, one.value, one.problem) for one in found])
    return faults


def _is_sound(resource: Resource) -> bool:
    """Tell quickly that nothing is wrong with a resource's identity, as almost always."""
    kind = KINDS.get(resource.kind)
    cls, scope_id = resource.scope
    return (
        kind is not None
        and kind.cls is cls
        and id_problem(resource.id) is None
        and (cls is ScopeClass.PUBLIC or id_problem(scope_id) is None)
        and type(resource.revision) is int
        and 1 <= resource.revision <= _REVISION_MAX
    )


def _identity_faults(resource: Resource, place: str) -> list[Fault]:
    faults = []
    for name, id in (("kind", resource.kind), ("id", resource.id)):
        problem = id_problem(id)
        if problem is not None:
            faults.append(Fault(f"{place}.{name}", id, problem))
    cls, scope_id = resource.scope
    if cls is not ScopeClass.PUBLIC:
        problem = id_problem(scope_id)
        if problem is not None:
            faults.append(Fault(f"{place}.{cls.value}", scope_id, problem))
    revision = resource.revision
    if type(revision) is not int or not 1 <= revision <= _REVISION_MAX:
        faults.append(Fault(f"{place}.revision", revision, "must be a positive integer"))
    kind = KINDS.get(resource.kind)
    if kind is not None and kind.cls is not cls:
        said = f"a {resource.kind} is published to a scope of class {kind.cls.value}"
        faults.append(Fault(f"{place}.scope", str(resource.scope), said))
    elif str(resource.kind).startswith(RESERVED):
        faults.append(Fault(f"{place}.kind", resource.kind, "is reserved for control records"))
    return faults


def _parcel(changeset: str, scope: Scope, part: Sequence[Resource], sent_us: int) -> Parcel:
    records = tuple([_record(resource, changeset) for resource in part])
    vpcs = _vpcs(part) if scope.cls is ScopeClass.HOST else ()
    return Parcel(scope, changeset, records, sent_us, vpcs)


def _vpcs(part: Sequence[Resource]) -> tuple[str, ...]:
    """Return the VPCs of a host's new or changed ports, each once."""
    found: tuple[str, ...] = ()
    for resource in part:
        if resource.kind == PORT and resource.op is Op.UPSERT:
            vpc = vpc_of_port(resource.spec)
            if vpc is not None and vpc not in found:
                found += (vpc,)
    return found


def _record(resource: Resource, changeset: str) -> Record:
    key = record_key(resource.scope, resource.kind, resource.id)
    spec = EMPTY_SPEC
    if resource.op is Op.UPSERT:
        try:
            spec = encode_spec(resource.spec)
        except InvalidResource as error:
            named = [Fault(f"{resource.key}.spec", one.value, one.problem) for one in error.faults]
            raise InvalidResource("invalid spec", named) from error
    size = len(key) + len(spec) + len(changeset) * _CHARACTER_BYTES_MAX + _ENVELOPE_BYTES_MAX
    if size > RECORD_BYTES_MAX:
        fault = Fault(f"{resource.key}.spec", f"{size} bytes", f"a record holds {RECORD_BYTES_MAX}")
        raise InvalidResource("a resource is too large", [fault])
    return Record(key, resource.revision, resource.op, spec)

"""Southbound's own documents: one changeset each, or one resource.

    changeset: web-17                      # optional: else it follows from the content
    resources:
      - {kind: port, host: node-7, id: p1, revision: 3, spec: {vpc_id: v1, ...}}
      - {kind: subnet, vpc: v1, id: s1, revision: 9, op: delete}

The rule: a document is taken whole or not at all, and every fault in it is named. The spec is
published exactly as it stands; fields that nobody knows are welcome there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from southbound.documents.changesets import content_id
from southbound.documents.document import Document, joined
from southbound.documents.kinds import validate_spec
from southbound.errors import Fault
from southbound.resources import (
    KINDS,
    PUBLIC_SCOPE,
    Changeset,
    Op,
    Resource,
    ResourceKey,
    Scope,
    ScopeClass,
    host_scope,
    vpc_scope,
)
from southbound.wire.keys import RESERVED, id_problem

REVISION_MAX = 2**63 - 1

_OPS = {"upsert": Op.UPSERT, "delete": Op.DELETE}
_CLASSES = {cls.value: cls for cls in ScopeClass}
_RESOURCE_FIELDS = frozenset({"kind", "class", "host", "vpc", "id", "revision", "op", "spec"})
_DOCUMENT_FIELDS = frozenset({"changeset", "resources"})
_NOT_HERE = "is not a field that belongs here"


def read_native(document: Document) -> tuple[Changeset | None, list[Fault]]:
    """Return the changeset of a document, or None and everything that is wrong with it."""
    judge = _Judge(document)
    changeset = judge.changeset()
    return (None if judge.faults else changeset), judge.faults


class _Judge:
    """Reads one document; `faults` gathers what is wrong."""

    def __init__(self, document: Document) -> None:
        self.faults: list[Fault] = []
        self._document = document

    def changeset(self) -> Changeset | None:
        """Read the document."""
        value = self._document.value
        if not isinstance(value, dict):
            self._fault("", value, "must be a map with resources")
            return None
        entries = self._entries(value)
        resources = [found for found in self._resources(entries) if found is not None]
        self._repeated(resources)
        id = value.get("changeset")
        if id is not None:
            self._id(id, "changeset")
        if self.faults:
            return None
        return Changeset(id or content_id(resources), tuple(resources))

    def _entries(self, value: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return each resource's path and data; a resource may be a document by itself."""
        if "kind" in value and "resources" not in value:
            alone = {field: item for field, item in value.items() if field != "changeset"}
            return [("", alone)]
        for field in value.keys() - _DOCUMENT_FIELDS:
            self._fault(field, value[field], _NOT_HERE)
        entries = value.get("resources")
        if not isinstance(entries, list) or not entries:
            self._fault("resources", entries, "must be a list with at least one resource")
            return []
        return [(joined("resources", index), entry) for index, entry in enumerate(entries)]

    def _resources(self, entries: Sequence[tuple[str, Any]]) -> Iterator[Resource | None]:
        for path, entry in entries:
            if isinstance(entry, dict):
                yield self._resource(path, entry)
            else:
                self._fault(path, entry, "must be a map")

    def _resource(self, path: str, entry: dict[str, Any]) -> Resource | None:
        if not entry.keys() <= _RESOURCE_FIELDS:
            for field in sorted(entry.keys() - _RESOURCE_FIELDS):
                self._fault(joined(path, field), entry[field], _NOT_HERE)
        before = len(self.faults)
        kind, id = entry.get("kind"), entry.get("id")
        self._kind(kind, joined(path, "kind"))
        self._id(id, joined(path, "id"))
        revision = entry.get("revision")
        if type(revision) is not int or not 1 <= revision <= REVISION_MAX:
            problem = f"must be a whole number from 1 to {REVISION_MAX}"
            self._fault(joined(path, "revision"), revision, problem)
        op = self._op(path, entry)
        spec = self._spec(path, entry, op)
        cls = self._class(path, entry) if isinstance(kind, str) else None
        scope = self._scope(path, entry, spec, cls) if cls is not None else None
        if scope is None or len(self.faults) > before:
            return None
        assert isinstance(kind, str)
        assert isinstance(id, str)
        assert isinstance(revision, int)
        return Resource(scope, kind, id, revision, spec, op)

    def _kind(self, kind: object, place: str) -> None:
        self._id(kind, place)
        if isinstance(kind, str) and kind.startswith(RESERVED):
            self._fault(place, kind, f"kinds that begin with {RESERVED} are Southbound's own")

    def _id(self, id: object, place: str) -> None:
        problem = id_problem(id)
        if problem is not None:
            self._fault(place, id, problem)

    def _op(self, path: str, entry: dict[str, Any]) -> Op:
        op = entry.get("op", "upsert")
        if isinstance(op, str) and op in _OPS:
            return _OPS[op]
        self._fault(joined(path, "op"), op, "must be upsert or delete")
        return Op.UPSERT

    def _spec(self, path: str, entry: dict[str, Any], op: Op) -> dict[str, Any]:
        spec, place = entry.get("spec"), joined(path, "spec")
        if spec is not None and not isinstance(spec, dict):
            self._fault(place, spec, "must be a map")
        elif op is Op.DELETE:
            if spec:
                self._fault(place, spec, "a delete carries no spec")
        else:
            kind = entry.get("kind")
            for fault in validate_spec(kind, spec or {}, place) if isinstance(kind, str) else ():
                self._fault(fault.place, fault.value, fault.problem)
        return spec if isinstance(spec, dict) else {}

    def _class(self, path: str, entry: dict[str, Any]) -> ScopeClass | None:
        known, named = KINDS.get(entry["kind"]), entry.get("class")
        place = joined(path, "class")
        if named is not None and (not isinstance(named, str) or named not in _CLASSES):
            self._fault(place, named, "must be host, vpc or public")
            return None
        if known is not None and named is not None and named != known.cls.value:
            self._fault(place, named, f"the kind {known.name} is of class {known.cls.value}")
            return None
        if known is not None:
            return known.cls
        if named is None:
            problem = "is not a kind that Southbound knows: name its class (host, vpc or public)"
            self._fault(joined(path, "kind"), entry["kind"], problem)
            return None
        return _CLASSES[named]

    def _scope(
        self, path: str, entry: dict[str, Any], spec: dict[str, Any], cls: ScopeClass
    ) -> Scope | None:
        for field in ("host", "vpc"):
            if field != cls.value and field in entry:
                problem = f"does not belong to a resource of class {cls.value}"
                self._fault(joined(path, field), entry[field], problem)
        if cls is ScopeClass.PUBLIC:
            return PUBLIC_SCOPE
        if cls is ScopeClass.HOST:
            return self._named_scope(joined(path, "host"), entry.get("host"), host_scope)
        return self._vpc_scope(path, entry, spec)

    def _vpc_scope(self, path: str, entry: dict[str, Any], spec: dict[str, Any]) -> Scope | None:
        """Return the VPC that is named; a vpc names itself, and `vpc_id` in the spec will do."""
        itself = entry.get("id") if entry["kind"] == "vpc" else None
        inside = spec.get("vpc_id")
        vpc = entry.get("vpc", inside if itself is None else itself)
        place = joined(path, "vpc")
        if itself is not None and vpc != itself:
            self._fault(place, vpc, f"a vpc is its own: {itself!r}")
        if inside is not None and inside != vpc:
            self._fault(joined(path, "spec", "vpc_id"), inside, f"is not the VPC {vpc!r}")
        return self._named_scope(place, vpc, vpc_scope)

    def _named_scope(self, place: str, name: object, scope_of: Any) -> Scope | None:
        if name is None:
            self._fault(place, name, "is required")
            return None
        self._id(name, place)
        return scope_of(name) if isinstance(name, str) else None

    def _repeated(self, resources: Sequence[Resource]) -> None:
        seen: set[ResourceKey] = set()
        for item in resources:
            if item.key in seen:
                self._fault("resources", str(item.key), "stands twice in this changeset")
            seen.add(item.key)

    def _fault(self, path: str, value: object, problem: str) -> None:
        self.faults.append(Fault(self._document.place(path), value, problem))

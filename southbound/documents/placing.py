"""Resources on their way into an import, each judged as it is put in.

The rule: one resource that cannot be used does not stop the others, since nobody can mend another
control plane's answer by hand; it is left, and listed with everything that is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from southbound.documents.changesets import by_scope
from southbound.documents.imported import Imported, Unplaced
from southbound.documents.kinds import validate_spec
from southbound.documents.native import REVISION_MAX
from southbound.resources import Op, Resource, ResourceKey, ScopeClass
from southbound.wire.keys import id_problem


class Placing:
    """Gathers the resources of an import, and what is left out with the reason."""

    def __init__(self, *, revision_offset: int = 0) -> None:
        self.unplaced: list[Unplaced] = []
        self.warnings: list[str] = []
        self._offset = revision_offset
        self._resources: dict[ResourceKey, Resource] = {}

    def leave(self, kind: str, id: str, why: str, source: str) -> None:
        """List something that will not be published."""
        self.unplaced.append(Unplaced(kind, id, why, source))

    def warn(self, warning: str) -> None:
        """Tell the person who imports, once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def revision(self, fields: Mapping[str, Any]) -> int | None:
        """Return the revision that `revision_number` and the offset make, or None for none."""
        number = fields.get("revision_number")
        if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 20:
            number = int(number)
        if type(number) is not int or not 1 <= number + self._offset <= REVISION_MAX:
            return None
        return number + self._offset

    @staticmethod
    def no_revision(fields: Mapping[str, Any]) -> str:
        """Say why `revision` found none."""
        number = fields.get("revision_number")
        if number is None:
            return "has no revision_number"
        return f"revision_number {number!r} makes no revision: they count from 1 (a revision offset helps)"

    def put(self, resource: Resource, source: str) -> bool:
        """Take a resource in; when it cannot be used, list it and return False."""
        problems = list(_problems(resource))
        if problems:
            self.leave(resource.kind, resource.id, "; ".join(problems), source)
            return False
        known = self._resources.setdefault(resource.key, resource)
        if known is resource:
            return True
        if known.revision < resource.revision:
            self._resources[resource.key] = resource
        elif known.revision == resource.revision and known != resource:
            self.warn(
                f"{resource.key}: two documents of revision {known.revision} differ;"
                f" the one of {source} was not taken"
            )
        return True

    def imported(self, *, resources_max: int) -> Imported:
        """Return everything that was put in and left out."""
        changesets = by_scope(self._resources.values(), resources_max=resources_max)
        return Imported(tuple(changesets), tuple(self.unplaced), tuple(self.warnings))


def _problems(resource: Resource) -> list[str]:
    found = [f"id: {problem}" for problem in (id_problem(resource.id),) if problem]
    if resource.scope.cls is not ScopeClass.PUBLIC:
        problem = id_problem(resource.scope.id)
        found += [f"{resource.scope.cls} {resource.scope.id!r}: {problem}"] if problem else []
    if not 1 <= resource.revision <= REVISION_MAX:
        found.append(f"revision {resource.revision} is out of range")
    if resource.op is Op.UPSERT:
        found += [str(fault) for fault in validate_spec(resource.kind, resource.spec)]
    return found

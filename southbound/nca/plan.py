"""What an applier is asked to do: an ordered list of changes, applied as one step. Pure.

The rule: upserts come in rising rank (what others refer to first), then deletes in falling rank,
so nothing ever refers to what is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from southbound.resources import Op, ResourceKey, Scope, rank_of


class Change(msgspec.Struct, frozen=True):
    """One resource to be brought to one revision. A delete's `spec` is empty.

    `changeset` is the one that published this revision.
    """

    key: ResourceKey
    revision: int
    op: Op
    spec: Mapping[str, Any]
    changeset: str = ""


class Plan(msgspec.Struct, frozen=True):
    """Changes to be applied in this order, as one step per scope as far as the applier can.

    `complete` names scopes for which the plan is the whole truth (a snapshot): whatever else the
    applier still holds of them from an earlier life is to be removed. `only`, unless it is None,
    names the scopes that the node has anything of: what the applier holds of any other is to be
    removed as well.
    """

    changes: tuple[Change, ...]
    complete: tuple[Scope, ...] = ()
    only: tuple[Scope, ...] | None = None


def ordered(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Return changes in the order of application; ties are broken by key, so it is deterministic."""
    return tuple(
        sorted(
            changes,
            key=lambda change: (
                change.op is Op.DELETE,
                -rank_of(change.key.kind) if change.op is Op.DELETE else rank_of(change.key.kind),
                change.key,
            ),
        )
    )

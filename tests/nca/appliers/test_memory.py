from __future__ import annotations

import pytest

from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.plan import Change, Plan
from southbound.resources import Op, ResourceKey, host_scope, vpc_scope

HOST = host_scope("h1")
KEY = ResourceKey(HOST, "port", "p1")
OTHER = ResourceKey(HOST, "port", "p2")


@pytest.fixture
def applier() -> MemoryApplier:
    """Return an open applier that refuses whatever is called p2."""
    made = MemoryApplier(lambda change: "no" if change.key == OTHER else None, plans_max=2)
    made.open()
    return made


def test_an_older_revision_is_left_out(applier: MemoryApplier) -> None:
    """As with every applier, neither an older upsert nor an older delete has an effect."""
    for revision, op in ((2, Op.UPSERT), (1, Op.UPSERT), (1, Op.DELETE)):
        applier.apply(Plan((Change(KEY, revision, op, {"r": revision}),)))
    assert applier.resources == {KEY: (2, {"r": 2})}


def test_a_refusal_is_one_resources_own(applier: MemoryApplier) -> None:
    """The rest of the plan is applied."""
    changes = tuple(Change(key, 1, Op.UPSERT, {}) for key in (OTHER, KEY))
    assert applier.apply(Plan(changes)) == {OTHER: "no"}
    assert set(applier.resources) == {KEY}


def test_a_complete_scope_is_swept(applier: MemoryApplier) -> None:
    """What a complete plan does not name goes; other scopes stay."""
    neighbor = ResourceKey(vpc_scope("v"), "neighbor", "n")
    applier.apply(Plan((Change(KEY, 1, Op.UPSERT, {}), Change(neighbor, 1, Op.UPSERT, {}))))
    applier.apply(Plan((), (HOST,)))
    assert set(applier.resources) == {neighbor}


def test_only_the_named_scopes_stay(applier: MemoryApplier) -> None:
    """What the applier holds of any other scope goes."""
    neighbor = ResourceKey(vpc_scope("v"), "neighbor", "n")
    applier.apply(Plan((Change(KEY, 1, Op.UPSERT, {}), Change(neighbor, 1, Op.UPSERT, {}))))
    applier.apply(Plan((), only=(HOST,)))
    assert set(applier.resources) == {KEY}


def test_only_the_last_plans_are_kept(applier: MemoryApplier) -> None:
    """The record is bounded."""
    for revision in (1, 2, 3):
        applier.apply(Plan((Change(KEY, revision, Op.UPSERT, {}),)))
    assert [plan.changes[0].revision for plan in applier.plans] == [2, 3]

"""The tracker's core: who has settled what, in whatever order it is told."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from southbound.producer.tracker_core import Applied, TrackedPart, TrackerCore, Watch
from southbound.resources import PUBLIC_SCOPE, ResourceKey, Scope, host_scope, vpc_scope
from southbound.wire.keys import encode_key
from southbound.wire.reports import Outcome, Report, ReportEntry

HOST = host_scope("h1")
VPC = vpc_scope("v1")


def _key(scope: Scope, id: str, kind: str = "thing") -> bytes:
    return encode_key(ResourceKey(scope, kind, id))


def _part(scope: Scope, *ids: str, revision: int = 5) -> TrackedPart:
    return TrackedPart(scope, {_key(scope, id): revision for id in ids})


def _entry(
    scope: Scope, id: str, outcome: Outcome, *, revision: int = 5, detail: str = ""
) -> ReportEntry:
    return ReportEntry("any", _key(scope, id), revision, outcome, 0, detail)


def _report(host: str, *entries: ReportEntry) -> Report:
    return Report(host, 0, entries)


def test_a_host_that_applied_everything_settles_its_changeset() -> None:
    """The watch is settled by the last resource, once."""
    core = TrackerCore(10)
    watch = core.watch("c", [_part(HOST, "a", "b")])
    assert core.heard(_report("h1", _entry(HOST, "a", Outcome.APPLIED))) == []
    assert core.state(watch) == Applied("c", silent=("h1",))
    last = _report("h1", _entry(HOST, "b", Outcome.APPLIED))
    assert core.heard(last) == [watch]
    assert core.state(watch) == Applied("c", applied=("h1",))
    assert core.state(watch).complete
    assert core.heard(last) == []
    assert len(core) == 0


def test_an_earlier_revision_or_another_host_settles_nothing() -> None:
    """Only the watched revision or a later one counts, and only of the host it is for."""
    core = TrackerCore(10)
    watch = core.watch("c", [_part(HOST, "a")])
    assert not core.heard(_report("h1", _entry(HOST, "a", Outcome.APPLIED, revision=4)))
    assert not core.heard(_report("h2", _entry(HOST, "a", Outcome.APPLIED)))
    assert core.state(watch) == Applied("c", silent=("h1",))


def test_a_later_revision_applied_counts_as_superseded() -> None:
    """What stands on the node is newer than what was watched."""
    core = TrackerCore(10)
    watch = core.watch("c", [_part(HOST, "a", "b")])
    entries = (_entry(HOST, "a", Outcome.APPLIED), _entry(HOST, "b", Outcome.APPLIED, revision=6))
    assert core.heard(_report("h1", *entries)) == [watch]
    assert core.state(watch) == Applied("c", superseded=("h1",))
    assert core.state(watch).complete


def test_pending_settles_nothing_and_says_what_is_missing() -> None:
    """The host is named with the resource that waits; applied ends it."""
    core = TrackerCore(10)
    watch = core.watch("c", [_part(HOST, "a")])
    waits = _entry(HOST, "a", Outcome.PENDING, detail="vpc v1")
    assert core.heard(_report("h1", waits)) == []
    assert core.state(watch).pending == {"h1": "host:h1/thing/a: vpc v1"}
    assert core.heard(_report("h1", _entry(HOST, "a", Outcome.APPLIED))) == [watch]
    assert core.state(watch).pending == {}


def test_a_failure_settles_and_may_turn_into_applied() -> None:
    """The watch is told once; the snapshot follows the node's next attempt."""
    core = TrackerCore(10)
    watch = core.watch("c", [_part(HOST, "a")])
    assert core.heard(_report("h1", _entry(HOST, "a", Outcome.FAILED, detail="no"))) == [watch]
    assert core.state(watch).failed == {"h1": "host:h1/thing/a: no"}
    assert not core.state(watch).complete
    assert core.heard(_report("h1", _entry(HOST, "a", Outcome.PENDING))) == []
    assert core.state(watch).failed == {"h1": "host:h1/thing/a: no"}
    assert core.heard(_report("h1", _entry(HOST, "a", Outcome.APPLIED))) == []
    assert core.state(watch) == Applied("c", applied=("h1",))
    assert len(core) == 0


def test_reports_before_it_is_known_who_is_expected_count() -> None:
    """An early report of an expected host settles it; one of another host is left out."""
    core = TrackerCore(10)
    watch = core.watch("c", [_part(VPC, "a")])
    assert core.heard(_report("h1", _entry(VPC, "a", Outcome.APPLIED))) == []
    assert core.heard(_report("h9", _entry(VPC, "a", Outcome.FAILED))) == []
    assert core.state(watch).silent == ("vpc:v1",)
    assert not core.expect(watch, VPC, {"h1", "h2"})
    assert core.state(watch) == Applied("c", applied=("h1",), silent=("h2",))
    assert core.heard(_report("h2", _entry(VPC, "a", Outcome.APPLIED))) == [watch]
    assert core.state(watch) == Applied("c", applied=("h1", "h2"))


def test_a_vpc_that_nobody_follows_is_settled_by_knowing_it() -> None:
    """Nobody is expected, so nothing is waited for."""
    core = TrackerCore(10)
    watch = core.watch("c", [_part(VPC, "a")])
    assert core.expect(watch, VPC, set())
    assert core.state(watch) == Applied("c")
    assert core.state(watch).complete


def test_a_host_stands_once_by_the_worst_of_its_parts() -> None:
    """A host in several parts is listed under what is worst for it."""
    core = TrackerCore(10)
    watch = core.watch("c", [_part(HOST, "a"), _part(VPC, "b")])
    core.expect(watch, VPC, {"h1", "h2"})
    core.heard(_report("h1", _entry(HOST, "a", Outcome.APPLIED)))
    failed = _entry(VPC, "b", Outcome.FAILED, detail="full")
    core.heard(_report("h1", failed))
    assert core.state(watch) == Applied("c", failed={"h1": "vpc:v1/thing/b: full"}, silent=("h2",))


def test_any_one_worker_settles_a_public_resource() -> None:
    """Each public resource is settled by whichever worker holds it, and the workers are named."""
    core = TrackerCore(10)
    watch = core.watch("c", [_part(PUBLIC_SCOPE, "a", "b")])
    assert core.heard(_report("w1", _entry(PUBLIC_SCOPE, "a", Outcome.APPLIED))) == []
    assert core.state(watch) == Applied("c", applied=("w1",), silent=("public",))
    assert core.heard(_report("w2", _entry(PUBLIC_SCOPE, "b", Outcome.APPLIED))) == [watch]
    assert core.state(watch) == Applied("c", applied=("w1", "w2"))


def test_one_report_may_settle_several_changesets() -> None:
    """Two watches of one resource are both settled by the later revision."""
    core = TrackerCore(10)
    first = core.watch("c1", [_part(HOST, "a", revision=1)])
    second = core.watch("c2", [_part(HOST, "a", revision=2)])
    report = _report("h1", _entry(HOST, "a", Outcome.APPLIED, revision=2))
    assert core.heard(report) == [first, second]
    assert core.state(first).superseded == ("h1",)
    assert core.state(second).applied == ("h1",)


def test_too_many_watches_drop_the_settled_and_then_the_oldest() -> None:
    """What was settled with failures goes first and silently, then the oldest open one."""
    core = TrackerCore(2)
    oldest = core.watch("c1", [_part(HOST, "a")])
    failed = core.watch("c2", [_part(HOST, "b")])
    core.heard(_report("h1", _entry(HOST, "b", Outcome.FAILED)))
    third = core.watch("c3", [_part(HOST, "c")])
    assert core.overflow() == []
    assert core.heard(_report("h1", _entry(HOST, "b", Outcome.APPLIED))) == []
    assert core.state(failed).failed, "it is not listened to any more"
    core.watch("c4", [_part(HOST, "d")])
    assert core.overflow() == [oldest]
    assert core.heard(_report("h1", _entry(HOST, "a", Outcome.APPLIED))) == []
    assert core.heard(_report("h1", _entry(HOST, "c", Outcome.APPLIED))) == [third]


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    """Reports on it change nothing, and forgetting twice does no harm."""
    core = TrackerCore(2)
    watch = core.watch("c", [_part(HOST, "a")])
    core.forget(watch)
    core.forget(watch)
    assert len(core) == 0
    assert core.heard(_report("h1", _entry(HOST, "a", Outcome.APPLIED))) == []


# Against a second implementation that remembers everything and computes anew.

_HOSTS = ("h1", "h2", "h3")
_IDS = ("a", "b")
_told = st.tuples(
    st.sampled_from(_HOSTS),
    st.sampled_from((HOST, VPC)),
    st.sampled_from(_IDS),
    st.integers(4, 6),
    st.sampled_from(list(Outcome)),
)
_Told = tuple[str, Scope, str, int, Outcome]


def _word(told: Sequence[_Told], host: str, scope: Scope, id: str) -> str:
    """Return what stands for one resource on one host after everything that was told."""
    mine = [
        (revision, outcome)
        for who, where, what, revision, outcome in told
        if (who, where, what) == (host, scope, id) and revision >= 5
    ]
    for revision, outcome in mine:
        if outcome is Outcome.SUPERSEDED or (outcome is Outcome.APPLIED and revision > 5):
            return "superseded"
        if outcome is Outcome.APPLIED:
            return "applied"
    if any(outcome is Outcome.FAILED for _, outcome in mine):
        return "failed"
    return "pending" if mine else "silent"


def _modelled(told: Sequence[_Told], expected: set[str] | None) -> dict[str, set[str]]:
    """Return the hosts of each standing."""
    order = ("applied", "superseded", "silent", "pending", "failed")
    words: dict[str, list[str]] = {"h1": [_word(told, "h1", HOST, id) for id in _IDS]}
    early = {who for who, where, _, revision, _ in told if where == VPC and revision >= 5}
    if expected is None:
        words["vpc:v1"] = ["silent"]
    for host in early if expected is None else expected:
        words.setdefault(host, []).extend(_word(told, host, VPC, id) for id in _IDS)
    standing = {host: max(found, key=order.index) for host, found in words.items()}
    return {word: {host for host, one in standing.items() if one == word} for word in order}


def _shown(applied: Applied) -> dict[str, set[str]]:
    return {
        "applied": set(applied.applied),
        "superseded": set(applied.superseded),
        "silent": set(applied.silent),
        "pending": set(applied.pending),
        "failed": set(applied.failed),
    }


def _model_settled(told: Sequence[_Told], expected: set[str] | None) -> bool:
    if expected is None:
        return False
    pairs = [("h1", HOST), *((host, VPC) for host in expected)]
    return all(
        _word(told, host, scope, id) not in ("pending", "silent")
        for host, scope in pairs
        for id in _IDS
    )


@given(
    told=st.lists(_told, max_size=40),
    expected=st.sets(st.sampled_from(_HOSTS)),
    known_after=st.integers(0, 40),
    batch=st.integers(1, 5),
)
def test_it_agrees_with_a_model_that_remembers_everything(
    told: list[_Told], expected: set[str], known_after: int, batch: int
) -> None:
    """In any order, split into any reports, the core shows what the model computes."""
    core = TrackerCore(10)
    watch = core.watch("c", [_part(HOST, *_IDS), _part(VPC, *_IDS)])
    known: set[str] | None = None
    settled: list[Watch] = []
    for first in range(0, len(told) + 1, batch):
        if known is None and first >= known_after:
            known = expected
            settled += [watch] if core.expect(watch, VPC, expected) else []
        for host in _HOSTS:
            entries = [
                _entry(scope, id, outcome, revision=revision)
                for who, scope, id, revision, outcome in told[first : first + batch]
                if who == host
            ]
            settled += core.heard(_report(host, *entries))
        sofar = told[: first + batch]
        assert _shown(core.state(watch)) == _modelled(sofar, known)
        assert settled == ([watch] if _model_settled(sofar, known) else [])

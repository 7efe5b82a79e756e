from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from southbound.errors import ConfigError, EdgeError
from southbound.nca.appliers import file as file_module
from southbound.nca.appliers import replacement as replacement_module
from southbound.nca.appliers.file import FileApplier, read_tree
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.plan import Change, Plan, ordered
from southbound.resources import (
    PUBLIC_SCOPE,
    Op,
    ResourceKey,
    Scope,
    host_scope,
    vpc_scope,
)

HOST = host_scope("h1")
VPC = vpc_scope("v1")


def upsert(
    id: str, revision: int = 1, changeset: str = "c1", *, scope: Scope = HOST, kind: str = "port"
) -> Change:
    """Return an upsert whose spec tells id and revision."""
    key = ResourceKey(scope, kind, id)
    return Change(key, revision, Op.UPSERT, {"name": f"{id} at {revision}"}, changeset)


def delete(id: str, revision: int, changeset: str = "c2", *, scope: Scope = HOST) -> Change:
    """Return a port's delete."""
    return Change(ResourceKey(scope, "port", id), revision, Op.DELETE, {}, changeset)


def leftovers(root: Path) -> list[str]:
    """Names of versions that no link leads to, and of unfinished files."""
    linked = {
        path.readlink().name
        for path in [*root.iterdir(), *(root / "vpc").iterdir()]
        if path.is_symlink()
    }
    versions = {path.name for path in (root / ".versions").iterdir()}
    return sorted(versions - linked) + [path.name for path in (root / ".staging").iterdir()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder that is not there yet."""
    return tmp_path / "tree"


@pytest.fixture
def applier(root: Path) -> Iterator[FileApplier]:
    """Return an open applier of `root`."""
    applier = FileApplier(root)
    applier.open()
    yield applier
    applier.close()


def test_an_operator_finds_a_resource_by_its_name(applier: FileApplier, root: Path) -> None:
    """One indented JSON file for each resource, with revision, changeset and spec."""
    applier.apply(Plan((upsert("p/1", 7), upsert("n1", scope=VPC, kind="neighbor"))))
    text = (root / "host/port/p%2F1.json").read_text()
    assert '\n  "revision": 7,\n' in text
    assert msgspec.json.decode(text) == {
        "scope": "host:h1",
        "kind": "port",
        "id": "p/1",
        "revision": 7,
        "changeset": "c1",
        "spec": {"name": "p/1 at 7"},
    }
    assert (root / "vpc/v1/neighbor/n1.json").is_file()


def test_what_was_written_reads_back(applier: FileApplier, root: Path) -> None:
    """`read_tree` returns identity, revision and spec, also of ids too long for a name."""
    long = "x" * 255
    applier.apply(Plan((upsert(long, 2), upsert("e1", 3, scope=PUBLIC_SCOPE, kind="elb"))))
    assert read_tree(root) == {
        ResourceKey(HOST, "port", long): (2, {"name": f"{long} at 2"}),
        ResourceKey(PUBLIC_SCOPE, "elb", "e1"): (3, {"name": "e1 at 3"}),
    }


@pytest.mark.parametrize("changes", [1, 2], ids=["singly", "as one step"])
def test_an_older_revision_never_replaces_a_newer_one(
    applier: FileApplier, root: Path, changes: int
) -> None:
    """Neither an older upsert nor an older delete touches what is there."""
    keys = ["p1", "p2"][:changes]
    applier.apply(Plan(tuple(upsert(id, 5) for id in keys)))
    before = read_tree(root)
    assert applier.apply(Plan(tuple(upsert(id, 4, "old") for id in keys))) == {}
    assert applier.apply(Plan(tuple(delete(id, 3, "older") for id in keys))) == {}
    assert read_tree(root) == before


def test_an_older_revision_stays_older_after_a_restart(root: Path) -> None:
    """The tree itself remembers the revisions, also of documents longer than one read."""
    big = Change(ResourceKey(HOST, "port", "p1"), 5, Op.UPSERT, {"text": "x" * 50_000}, "c")
    for changes in ((big,), (upsert("p1", 4),)):
        applier = FileApplier(root)
        applier.open()
        assert applier.apply(Plan(changes)) == {}
        applier.close()
    assert read_tree(root)[big.key][0] == 5


def test_an_equal_revision_is_written_again(applier: FileApplier, root: Path) -> None:
    """Applying again repairs what somebody else did to a file."""
    applier.apply(Plan((upsert("p1"),)))
    (root / "host/port/p1.json").write_text("damaged")
    applier.apply(Plan((upsert("p1"),)))
    assert read_tree(root)[ResourceKey(HOST, "port", "p1")][0] == 1


def test_deletes_leave_no_empty_folders(applier: FileApplier, root: Path) -> None:
    """The last resource of a kind takes its folder with it, the last of a scope the scope's."""
    applier.apply(Plan((upsert("p1"), upsert("p2"), upsert("d1", kind="dhcp"))))
    applier.apply(Plan((delete("p1", 2),)))
    applier.apply(Plan((delete("p2", 2),)))
    assert [path.name for path in (root / "host").iterdir()] == ["dhcp"]
    gone = Change(ResourceKey(HOST, "dhcp", "d1"), 2, Op.DELETE, {}, "c")
    applier.apply(Plan((gone,)))
    assert not (root / "host").is_symlink()
    assert leftovers(root) == []


def test_a_delete_of_what_is_not_there_succeeds(applier: FileApplier, root: Path) -> None:
    """Deleting is idempotent, in a scope that exists and in one that does not."""
    assert applier.apply(Plan((delete("p1", 2),))) == {}
    applier.apply(Plan((upsert("p2"),)))
    assert applier.apply(Plan((delete("p1", 2),))) == {}
    assert len(read_tree(root)) == 1


def test_a_complete_scope_loses_what_the_plan_does_not_name(
    applier: FileApplier, root: Path
) -> None:
    """Only the scopes that the plan calls complete are swept."""
    applier.apply(Plan((upsert("p1"), upsert("p2"), upsert("n1", scope=VPC))))
    applier.apply(Plan((upsert("p2", 2),), (HOST,)))
    assert {str(key) for key in read_tree(root)} == {"host:h1/port/p2", "vpc:v1/port/n1"}


def test_an_empty_complete_vpc_loses_its_folder(applier: FileApplier, root: Path) -> None:
    """A VPC that the host has left disappears as a whole."""
    applier.apply(Plan((upsert("n1", scope=VPC), upsert("n2", scope=VPC))))
    assert applier.apply(Plan((), (VPC,))) == {}
    assert list((root / "vpc").iterdir()) == []
    assert leftovers(root) == []


def test_only_the_named_scopes_stay(applier: FileApplier, root: Path) -> None:
    """A VPC of an earlier life goes with its folder; those that the plan names are left alone."""
    other = vpc_scope("v/2")
    applier.apply(Plan((upsert("p1"), upsert("n1", scope=VPC), upsert("n2", scope=other))))
    before = (root / "vpc" / "v1").readlink()
    assert applier.apply(Plan((upsert("p2"),), only=(HOST, VPC))) == {}
    assert {str(key) for key in read_tree(root)} == {
        "host:h1/port/p1", "host:h1/port/p2", "vpc:v1/port/n1",
    }  # fmt: skip
    assert (root / "vpc" / "v1").readlink() == before
    assert leftovers(root) == []
    applier.apply(Plan((), only=(other,)))
    assert read_tree(root) == {}
    assert leftovers(root) == []


def test_a_newer_revision_survives_an_older_snapshot(applier: FileApplier, root: Path) -> None:
    """A complete plan that knows an older revision of a resource does not bring it back."""
    applier.apply(Plan((upsert("p1", 9),)))
    applier.apply(Plan((upsert("p1", 3), upsert("p2", 3)), (HOST,)))
    assert {key.id: revision for key, (revision, _) in read_tree(root).items()} == {
        "p1": 9,
        "p2": 3,
    }


def test_a_changeset_turns_the_link_and_a_single_change_does_not(
    applier: FileApplier, root: Path
) -> None:
    """Only changes that belong together pay for a new version of the folder."""
    applier.apply(Plan((upsert("p1"),)))
    first = (root / "host").readlink()
    applier.apply(Plan((upsert("p1", 2, "a"), upsert("p2", 1, "b"))))
    assert (root / "host").readlink() == first
    applier.apply(Plan((upsert("p1", 3, "c"), upsert("p2", 2, "c"))))
    assert (root / "host").readlink() != first
    assert leftovers(root) == []


def test_public_resources_are_written_singly(applier: FileApplier, root: Path) -> None:
    """A public changeset spans partitions, so nothing makes it one step."""
    applier.apply(Plan((upsert("e1", scope=PUBLIC_SCOPE),)))
    link = (root / "public").readlink()
    applier.apply(Plan((upsert("e2", scope=PUBLIC_SCOPE), upsert("e3", scope=PUBLIC_SCOPE))))
    assert (root / "public").readlink() == link
    assert len(read_tree(root)) == 3


def test_one_failure_blocks_nothing_else(applier: FileApplier, root: Path) -> None:
    """What cannot be written is named with a reason; its older revision stays; the rest goes on."""
    applier.apply(Plan((upsert("p1"), upsert("p2"))))
    bad = Change(ResourceKey(HOST, "port", "p1"), 2, Op.UPSERT, {"x": {1.5: object()}}, "c")
    for changeset in ("c", "d"):
        failed = applier.apply(Plan((bad, upsert("p2", 2, changeset), upsert("p3", 1, "e"))))
        assert list(failed) == [bad.key]
        assert "JSON" in failed[bad.key]
    assert {key.id: revision for key, (revision, _) in read_tree(root).items()} == {
        "p1": 1,
        "p2": 2,
        "p3": 1,
    }


def test_the_systems_refusal_is_the_reason(applier: FileApplier, root: Path) -> None:
    """A failing file operation is reported in the system's words, and leaves nothing behind."""
    applier.apply(Plan((upsert("p1"),)))
    (root / "host/port/p2.json").mkdir()
    failed = applier.apply(Plan((upsert("p2", 1, "a"), upsert("p3", 1, "b"))))
    assert failed == {ResourceKey(HOST, "port", "p2"): "Is a directory (IsADirectoryError)"}
    assert {key.id for key in read_tree_of_files(root)} == {"p1", "p3"}


def read_tree_of_files(root: Path) -> set[ResourceKey]:
    """Keys of what are files below the host's folder."""
    return {
        ResourceKey(HOST, path.parent.name, path.stem)
        for path in (root / "host").glob("*/*.json")
        if path.is_file()
    }


def test_a_scope_that_cannot_be_copied_fails_as_a_whole(
    applier: FileApplier, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the unchanged files cannot be kept, nothing of the scope changes."""
    applier.apply(Plan((upsert("p1"), upsert("p2"))))
    before = read_tree(root)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        failed = applier.apply(Plan((upsert("p1", 2, "c"), upsert("p3", 1, "c"))))
    assert set(failed.values()) == {"No space left on device (OSError)"}
    assert len(failed) == 2
    assert read_tree(root) == before
    assert leftovers(root) == []


def test_a_scope_that_cannot_be_emptied_is_an_error(
    applier: FileApplier, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no resource to blame, the failure is raised rather than lost."""
    applier.apply(Plan((upsert("p1"), upsert("p2"))))

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(EdgeError, match=r"host:h1 cannot be emptied"):
            applier.apply(Plan((), (HOST,)))
    assert len(read_tree(root)) == 2


def test_a_system_without_exchange_renames(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two names cannot be exchanged, a rename replaces the file."""
    monkeypatch.setattr(replacement_module, "_RENAME_EXCHANGE", 1 << 20)
    applier = FileApplier(root)
    applier.open()
    for revision in (1, 2, 3):
        assert applier.apply(Plan((upsert("p1", revision),))) == {}
    applier.close()
    assert read_tree(root)[ResourceKey(HOST, "port", "p1")][0] == 3
    assert leftovers(root) == []


def test_fsync_reaches_files_and_folders(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `fsync` each step is on the disk before it is told; without it nothing waits."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for fsync in (False, True):
        applier = FileApplier(root, fsync=fsync)
        applier.open()
        for plan in ((upsert("p1", 1),), (upsert("p1", 2), upsert("p2", 2)), (delete("p1", 3),)):
            assert applier.apply(Plan(plan)) == {}
        applier.close()
        assert bool(synced) is fsync


def test_vpcs_gain_before_the_host_and_lose_after_it(
    applier: FileApplier, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the host's resources refer to is there before them and goes after them."""
    order: list[str] = []
    swap = FileApplier._swap

    def noted(self: FileApplier, scope: Scope, changes: Any, *, complete: bool) -> Any:
        order.append(str(scope))
        return swap(self, scope, changes, complete=complete)

    monkeypatch.setattr(FileApplier, "_swap", noted)
    left, joined = vpc_scope("left"), vpc_scope("joined")
    plan = ordered((upsert("p1"), upsert("s1", scope=joined), delete("s2", 2, scope=left)))
    applier.apply(Plan(plan, (left, HOST, joined)))
    assert order == ["vpc:joined", "host:h1", "vpc:left"]


def test_a_second_process_is_refused(applier: FileApplier, root: Path) -> None:
    """One tree has one writer; when it closes, the next may come."""
    second = FileApplier(root)
    with pytest.raises(EdgeError, match="another process"):
        second.open()
    applier.close()
    second.open()
    second.close()


def test_an_unusable_root_is_the_callers_mistake(tmp_path: Path) -> None:
    """A root that cannot be a folder is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"root: .*'.*file/tree'"):
        FileApplier(tmp_path / "file/tree").open()


# Crashes: the process dies at each file operation in turn.


class Crash(BaseException):
    """The process ends here."""


class DyingOs:
    """The `os` module until its `operations`-th changing call, at which the process dies."""

    CHANGING = frozenset(
        {"open", "write", "rename", "link", "mkdir", "makedirs", "unlink", "rmdir", "symlink"}
    )

    def __init__(self, operations: int) -> None:
        self.left = operations

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.CHANGING:
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Crash
            return real(*arguments, **options)

        return call


def by_scope(root: Path, scope: Scope) -> dict[ResourceKey, tuple[int, dict[str, Any]]]:
    """Return what the tree holds of one scope."""
    return {key: value for key, value in read_tree(root).items() if key.scope == scope}


ONE = vpc_scope("v3")
BEFORE = (
    upsert("p1"),
    upsert("p2"),
    upsert("n1", scope=VPC),
    upsert("n2", scope=VPC),
    upsert("o1", scope=ONE),
)
STEPS = {
    "a single change": Plan((upsert("p1", 2),)),
    "a first file of a kind": Plan((upsert("d1", 1, kind="dhcp"),)),
    "a first file of a scope": Plan((upsert("x1", 1, scope=vpc_scope("v2")),)),
    "a delete": Plan((delete("p1", 2),)),
    "a scope's last delete": Plan((delete("o1", 2, scope=ONE),)),
    "a changeset": Plan((upsert("p1", 2, "c"), upsert("p3", 1, "c"), delete("p2", 2, "c"))),
    "two scopes": Plan(
        (upsert("p1", 2, "c"), upsert("p3", 1, "c"), upsert("n1", 2, "c", scope=VPC)),
        (VPC,),
    ),
    "a VPC left": Plan((), (VPC,)),
}


@pytest.mark.parametrize("plan", STEPS.values(), ids=STEPS.keys())
def test_a_crash_leaves_the_old_state_or_the_new_one(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dying at any operation leaves each scope whole, and nothing behind for those after it."""
    scopes = {HOST, VPC, vpc_scope("v2"), ONE}
    reference = FileApplier(tmp_path / "reference")
    reference.open()
    reference.apply(Plan(BEFORE))
    old = {scope: by_scope(tmp_path / "reference", scope) for scope in scopes}
    reference.apply(plan)
    reference.close()
    new = {scope: by_scope(tmp_path / "reference", scope) for scope in scopes}

    for operations in range(200):
        root = tmp_path / str(operations)
        applier = FileApplier(root)
        applier.open()
        applier.apply(Plan(BEFORE))
        died = False
        with monkeypatch.context() as patch:
            dying = DyingOs(operations)
            patch.setattr(file_module, "os", dying)
            patch.setattr(replacement_module, "os", dying)
            try:
                applier.apply(plan)
            except Crash:
                died = True
        applier.close()
        for scope in scopes:
            assert by_scope(root, scope) in (old[scope], new[scope])
        again = FileApplier(root)
        again.open()
        assert leftovers(root) == []
        assert again.apply(plan) == {}
        assert {scope: by_scope(root, scope) for scope in scopes} == new
        again.close()
        if not died:
            return
    pytest.fail("the plan never came to its end")


# Against a deliberately dumb second implementation.

changes = st.builds(
    lambda scope, id, revision, deletes, changeset: Change(
        ResourceKey(scope, "port", id),
        revision,
        Op.DELETE if deletes else Op.UPSERT,
        {} if deletes else {"revision": revision},
        changeset,
    ),
    st.sampled_from([HOST, VPC]),
    st.sampled_from(["a", "b", "c/d", "." + "e" * 250]),
    st.integers(1, 6),
    st.booleans(),
    st.sampled_from(["c1", "c2"]),
)
plans = st.builds(
    lambda changes, complete: Plan(
        ordered({change.key: change for change in changes}.values()), tuple(complete)
    ),
    st.lists(changes, max_size=5),
    st.sets(st.sampled_from([HOST, VPC])),
)


@settings(max_examples=150)
@given(history=st.lists(plans, max_size=8))
def test_the_tree_is_what_the_memory_applier_holds(
    history: list[Plan], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any history of plans, with restarts between, ends in the same state."""
    root = tmp_path_factory.mktemp("tree")
    memory = MemoryApplier()
    memory.open()
    for plan in history:
        applier = FileApplier(root)
        applier.open()
        assert applier.apply(plan) == memory.apply(plan)
        applier.close()
        assert read_tree(root) == memory.resources
        assert leftovers(root) == []


def test_a_snapshot_costs_one_version_for_each_scope(applier: FileApplier, root: Path) -> None:
    """Sixty resources of a fresh node are written in two steps."""
    first = tuple(upsert(f"p{n}", scope=scope) for scope in (HOST, VPC) for n in range(30))
    applier.apply(Plan(first, (HOST, VPC)))
    assert len(read_tree(root)) == 60
    assert sorted(path.name for path in (root / ".versions").iterdir()) == ["host@2", "vpc@v1@1"]


def test_a_folder_that_somebody_put_among_the_versions_is_cleared(tmp_path: Path) -> None:
    """Whatever its name looks like."""
    applier = FileApplier(tmp_path)
    applier.open()
    applier.close()
    (versions,) = (one for one in tmp_path.rglob("*") if one.is_dir() and "version" in one.name)
    (versions / "host@\u00b2").mkdir()
    applier.open()
    applier.close()
    assert list(versions.iterdir()) == []

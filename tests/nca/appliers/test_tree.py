from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.errors import EdgeError
from southbound.nca.appliers.file import FileApplier
from southbound.nca.appliers.tree import (
    NAME_BYTES_MAX,
    Document,
    decode_revision,
    encode_document,
    file_name,
    id_of_name,
    read_tree,
    scope_path,
)
from southbound.nca.plan import Change, Plan
from southbound.resources import PUBLIC_SCOPE, Op, ResourceKey, host_scope, vpc_scope
from southbound.wire.keys import id_problem

ids = st.text(min_size=1, max_size=255).filter(lambda id: id_problem(id) is None)


@given(ids)
def test_every_id_becomes_one_safe_component(id: str) -> None:
    """A name is no path, is not hidden, is ASCII, and leaves room for a suffix."""
    name = file_name(id)
    assert name.isascii()
    assert "/" not in name
    assert not name.startswith(".")
    assert 1 <= len(name) <= NAME_BYTES_MAX


@given(ids)
def test_a_name_that_was_not_cut_leads_back_to_its_id(id: str) -> None:
    """Encoding is reversible."""
    back = id_of_name(file_name(id))
    assert back == id or (back is None and len(id.encode()) * 3 > NAME_BYTES_MAX)


@given(ids, ids)
def test_two_ids_never_share_a_name(one: str, other: str) -> None:
    """Different ids have different names."""
    assert (file_name(one) == file_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("port-1", "port-1"),
        ("fe80::1", "fe80::1"),
        (".hidden", "%2Ehidden"),
        ("..", "%2E."),
        ("a/b", "a%2Fb"),
        ("a@b", "a%40b"),
        ("100%", "100%25"),
        ("Zürich", "Z%C3%BCrich"),
        ("two words", "two%20words"),
    ],
)
def test_names_are_what_an_operator_expects(id: str, name: str) -> None:
    """Common ids stay as they are; the rest is percent-encoded."""
    assert file_name(id) == name


def test_long_ids_that_differ_only_at_the_end_differ_in_name() -> None:
    """The hash is of the whole id, and the cut never leaves half an escape."""
    one, other = "/" * 254 + "a", "/" * 254 + "b"
    assert file_name(one) != file_name(other)
    head, _, digest = file_name(one).partition("@")
    assert head == "%2F" * (len(head) // 3)
    assert len(digest) == 32


def test_scopes_have_their_folders() -> None:
    """A host's resources stand beside those of each VPC and the public ones."""
    assert scope_path(host_scope("h1")) == "host"
    assert scope_path(vpc_scope("a/b")) == "vpc/a%2Fb"
    assert scope_path(PUBLIC_SCOPE) == "public"


@given(ids, ids, st.integers(1, 2**62))
def test_a_document_says_what_it_is(scope_id: str, id: str, revision: int) -> None:
    """Identity and revision are in the document, whatever its name."""
    key = ResourceKey(vpc_scope(scope_id), "neighbor", id)
    data = encode_document(Change(key, revision, Op.UPSERT, {"ip": "10.0.0.1"}, "cs-1"))
    assert decode_revision(data) == revision
    assert Document(str(key.scope), key.kind, id, revision, "cs-1", {}).key == key


@pytest.mark.parametrize("data", [b"", b"\x00" * 40, b'{"revision": 3, "spec": {', b"[]"])
def test_a_document_cut_short_has_no_revision(data: bytes) -> None:
    """What a loss of power left behind counts as absent."""
    assert decode_revision(data) == 0


def test_a_tree_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """Reading creates nothing and complains of nothing."""
    assert read_tree(tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()


def test_a_broken_document_is_named(tmp_path: Path) -> None:
    """Whoever reads a tree hears which file is broken."""
    applier = FileApplier(tmp_path)
    applier.open()
    applier.apply(
        Plan((Change(ResourceKey(host_scope("h"), "port", "p1"), 1, Op.UPSERT, {}, "c"),))
    )
    (tmp_path / "host/port/p1.json").write_text("{")
    with pytest.raises(EdgeError, match=r"port/p1\.json"):
        read_tree(tmp_path)
    applier.close()


def test_a_reader_never_sees_a_mixture(tmp_path: Path) -> None:
    """While a writer swaps whole changesets, every reading holds one changeset only."""
    scope = vpc_scope("v1")
    keys = [ResourceKey(scope, "security_group_rule", f"r{n}") for n in range(20)]
    applier = FileApplier(tmp_path)
    applier.open()
    stop = threading.Event()

    def write() -> None:
        revision = 0
        while not stop.is_set():
            revision += 1
            changes = tuple(
                Change(key, revision, Op.UPSERT, {"of": revision}, f"c{revision}") for key in keys
            )
            assert applier.apply(Plan(changes)) == {}

    writer = threading.Thread(target=write)
    writer.start()
    seen: set[int] = set()
    end_s = time.monotonic() + 60.0
    try:
        while time.monotonic() < end_s:
            tree = read_tree(tmp_path)
            if tree:
                assert set(tree) == set(keys)
                assert len({revision for revision, _ in tree.values()}) == 1
                seen.add(next(iter(tree.values()))[0])
            if len(seen) >= 10:
                break
    finally:
        stop.set()
        writer.join()
        applier.close()
    assert len(seen) >= 10


def test_a_scope_emptied_and_filled_again_is_read_in_between(tmp_path: Path) -> None:
    """Its link leads nowhere for a moment, which is an empty scope however often it is met."""
    applier = FileApplier(tmp_path)
    applier.open()
    key = ResourceKey(vpc_scope("v1"), "port", "p")
    stop = threading.Event()

    def write() -> None:
        revision = 0
        while not stop.is_set():
            for op in (Op.UPSERT, Op.DELETE):
                revision += 1
                assert applier.apply(Plan((Change(key, revision, op, {}, "c"),))) == {}

    writer = threading.Thread(target=write)
    writer.start()
    seen: set[frozenset[ResourceKey]] = set()
    readings, end_s = 0, time.monotonic() + 60.0
    try:
        # Both are met sooner or later, however slow the writer's disk is.
        while readings < 3000 or (len(seen) < 2 and time.monotonic() < end_s):
            seen.add(frozenset(read_tree(tmp_path)))
            readings += 1
    finally:
        stop.set()
        writer.join()
        applier.close()
    assert seen == {frozenset(), frozenset({key})}


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 5_000, b"\xff", b'{"scope": "rack:1"}'])
def test_a_document_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    """With its path; one of a scope that there is not, too."""
    change = Change(ResourceKey(host_scope("h"), "port", "p"), 3, Op.UPSERT, {"a": 1})
    applier = FileApplier(tmp_path)
    applier.open()
    applier.apply(Plan((change,)))
    applier.close()
    file = tmp_path / "host" / "port" / "p.json"
    whole = content or file.read_bytes().replace(b"host:h", b"rack:h")
    file.write_bytes(whole)
    with pytest.raises(EdgeError, match=r"p\.json"):
        read_tree(tmp_path)

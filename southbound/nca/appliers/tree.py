"""Names and documents of the tree that the file applier keeps, and how to read one back.

    <root>/host/<kind>/<id>.json            resources of the host
    <root>/vpc/<vpc>/<kind>/<id>.json       resources of each VPC that the host follows
    <root>/public/<kind>/<id>.json          public resources that a worker holds

The rule: a name is the id itself wherever a file system can hold it, percent-encoded where not, and
cut with a hash where it would be too long; so two ids never share a name, and an operator can go
from one to the other. What a resource truly is stands in its document, never in its name alone.

The folder of a scope is a symbolic link to one version of it. Whoever reads several files as one
state opens the folder, reads, and looks whether the link still says the same (`read_tree` does).
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from southbound.errors import EdgeError
from southbound.nca.plan import Change
from southbound.resources import ResourceKey, Scope, ScopeClass

NAME_BYTES_MAX = 200
"""Longest encoded id: what is added to it (`.json`, a version) must fit the 255 bytes of a name."""

DOCUMENT_SUFFIX = ".json"
_READABLE = ":+=,"
_PLAIN = re.compile(r"[A-Za-z0-9_~:+=,-][A-Za-z0-9_~:+=,.-]*")
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?\Z")
_READS_MAX = 100
_AGAIN_S = 0.001


class Document(msgspec.Struct, frozen=True):
    """What stands in a file: one resource at one revision. `scope` is `host:<id>` and the like."""

    scope: str
    kind: str
    id: str
    revision: int
    changeset: str
    spec: dict[str, Any]

    @property
    def key(self) -> ResourceKey:
        """Identity of the resource. Raises `ValueError` for an unknown class of scope."""
        cls, _, id = self.scope.partition(":")
        return ResourceKey(Scope(ScopeClass(cls), id), self.kind, self.id)


class _Revision(msgspec.Struct, frozen=True):
    revision: int


_document_decoder = msgspec.json.Decoder(Document)
_revision_decoder = msgspec.json.Decoder(_Revision)
_encoder = msgspec.json.Encoder()


def file_name(id: str) -> str:
    """Return an id as one path component of at most `NAME_BYTES_MAX` bytes.

    `@` stands in no encoded id: in a name it divides the cut head of a long id from its hash.
    """
    if len(id) <= NAME_BYTES_MAX and _PLAIN.fullmatch(id):
        return id
    encoded = quote(id, safe=_READABLE)
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) <= NAME_BYTES_MAX:
        return encoded
    digest = blake2b(id.encode(), digest_size=16).hexdigest()
    head = encoded[: NAME_BYTES_MAX - len(digest) - 1]
    return f"{_CUT_ESCAPE.sub('', head)}@{digest}"


def id_of_name(name: str) -> str | None:
    """Return the id that `file_name` encoded, or None for a cut one: its document knows."""
    return None if "@" in name else unquote(name)


def scope_path(scope: Scope) -> str:
    """Return a scope's folder, relative to the root."""
    if scope.cls is ScopeClass.VPC:
        return f"vpc/{file_name(scope.id)}"
    return scope.cls.value


def encode_document(change: Change) -> bytes:
    """Return an upsert as an indented JSON document.

    Bytes inside a spec become base64 text. Raises `TypeError` or `ValueError` for what JSON cannot
    hold.
    """
    key = change.key
    document = Document(
        scope=str(key.scope),
        kind=key.kind,
        id=key.id,
        revision=change.revision,
        changeset=change.changeset,
        spec=change.spec,  # type: ignore[arg-type]  # any mapping encodes alike
    )
    return msgspec.json.format(_encoder.encode(document), indent=2) + b"\n"


def decode_revision(data: bytes) -> int:
    """Return the revision in a document, or 0 when it is not a whole document."""
    try:
        return _revision_decoder.decode(data).revision
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0


def _read_document(path: Path) -> Document:
    try:
        document = _document_decoder.decode(path.read_bytes())
        # Whose resource it is must be told, too.
        assert document.key
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EdgeError(f"{path}: not a document of this tree: {error}", retryable=False) from error
    return document


def _scope_folders(root: Path) -> Iterator[Path]:
    yield root / "host"
    yield root / "public"
    with contextlib.suppress(FileNotFoundError):
        yield from sorted((root / "vpc").iterdir())


def _read_version(folder: Path) -> list[Document]:
    return [
        _read_document(path)
        for kind in folder.iterdir()
        for path in kind.iterdir()
        if path.name.endswith(DOCUMENT_SUFFIX)
    ]


def _target(folder: Path) -> Path | None:
    try:
        return folder.readlink()
    except FileNotFoundError:
        return None


def read_scope(folder: Path) -> list[Document]:
    """Return one scope's documents as they stood together at one moment; none when it is absent.

    Raises `EdgeError` for a document that cannot be read, or a folder that never stands still.
    """
    for _ in range(_READS_MAX):
        target = _target(folder)
        if target is None:
            return []
        version = folder.parent / target
        try:
            documents = _read_version(version)
        except FileNotFoundError:
            # A link is turned before its old version goes. One whose version went under it is that
            # of an emptied scope, which the writer is about to remove, or died before it could.
            if not version.exists() and _target(folder) == target:
                return []
            time.sleep(_AGAIN_S)
            continue
        if _target(folder) == target:
            return documents
    raise EdgeError(f"{folder}: changed during each of {_READS_MAX} readings", retryable=True)


def read_tree(root: Path | str) -> dict[ResourceKey, tuple[int, dict[str, Any]]]:
    """Return (revision, spec) of every resource in a tree, while an applier may be writing it.

    Each scope is read as of one moment. Raises `EdgeError` as `read_scope` does.
    """
    return {
        document.key: (document.revision, document.spec)
        for folder in _scope_folders(Path(root))
        for document in read_scope(folder)
    }

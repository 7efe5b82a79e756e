"""An applier that keeps a directory tree which an operator, or a dataplane's daemon, can read.

The rule: a reader sees the old state or the new one, never a mixture, whenever the writer dies.
One file changes by a temporary file and a rename. A scope that changes in several files of one
changeset changes by its link: a new version of the folder is made of hard links to what stays and
files for what is new, and one rename turns the link to it. That costs as many links as the scope
has resources, so what changes singly is written singly.

Nothing is ever changed in place, and the truth of what is present is the tree itself: a document's
revision is read before it is replaced, so a newer one stays. `tree` describes names and documents.

    <root>/.versions/<scope>@<number>/<kind>/<id>.json     what a scope's link leads to
    <root>/.staging/                                       unfinished files and links
    <root>/.lock                                           held by the one writer
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from southbound import failpoints
from southbound.errors import ConfigError, EdgeError, Fault
from southbound.nca.appliers.replacement import Replacement
from southbound.nca.appliers.tree import (
    DOCUMENT_SUFFIX,
    decode_revision,
    encode_document,
    file_name,
    read_tree,
    scope_path,
)
from southbound.nca.plan import Change, Plan
from southbound.resources import Op, ResourceKey, Scope, ScopeClass

__all__ = ["FileApplier", "read_tree"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
_FILE_MODE = 0o644
_READ_BYTES = 8192


class FileApplier:
    """Keeps the tree under `root`.

    Scopes change one after the other: VPCs that gain something first, then the host, then VPCs that
    only lose. Within a scope a plan is one step when it is complete, or when several of its changes
    share a changeset; changes of different changesets, and public ones (each of which lies in a
    partition of its own), are written one by one in the plan's order.

    `fsync`: whether each change is on the disk before `apply` returns. Without it a crash of the
    process harms nothing, but a loss of power may leave what was written in the last half minute
    cut short or absent; a document cut short is taken as absent.
    """

    def __init__(self, root: Path | str, *, fsync: bool = False) -> None:
        self._root = str(root)
        self._versions = f"{self._root}/.versions"
        self._staging = f"{self._root}/.staging"
        self._fsync = fsync
        self._replacement = Replacement()
        self._lock: int | None = None
        self._number = 0

    def open(self) -> None:
        """Take the tree and clear what a crash left over.

        Raises `ConfigError` when the root cannot be made or written, `EdgeError` when another
        process holds it.
        """
        try:
            os.makedirs(self._versions, exist_ok=True)
            self._lock = self._take_lock()
            os.makedirs(self._staging, exist_ok=True)
            os.makedirs(f"{self._root}/vpc", exist_ok=True)
            self._clear_leftovers()
        except OSError as error:
            self.close()
            raise ConfigError(
                "the file applier cannot use its root",
                [Fault("root", self._root, _reason(error))],
            ) from error

    def close(self) -> None:
        """Let another process take the tree."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Bring the tree to the plan; return why each failed resource did.

        Raises `EdgeError` only for a scope to be emptied or removed, which has no resource to blame.
        """
        assert self._lock is not None, "apply before open"
        failed: dict[ResourceKey, str] = {}
        for scope, changes in _steps(plan):
            complete = scope in plan.complete
            if complete or _belong_together(scope, changes):
                failed.update(self._swap(scope, changes, complete=complete))
            else:
                for change in changes:
                    self._single(change, failed)
        if plan.only is not None:
            self._keep_only(plan.only)
        return failed

    def _take_lock(self) -> int:
        lock = os.open(f"{self._root}/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise EdgeError(
                f"another process keeps the tree {self._root}", retryable=False
            ) from None
        return lock

    def _clear_leftovers(self) -> None:
        _remove_contents(self._staging)
        live = set()
        for link in self._links():
            target = f"{os.path.dirname(link)}/{os.readlink(link)}"
            if os.path.isdir(target):
                live.add(os.path.basename(target))
            else:
                os.unlink(link)
        for entry in os.scandir(self._versions):
            self._number = max(self._number, _number_of(entry.name))
            if entry.name not in live:
                _remove_contents(entry.path)
                os.rmdir(entry.path)

    def _keep_only(self, scopes: Iterable[Scope]) -> None:
        """Remove every scope but these, as a whole."""
        kept = {f"{self._root}/{scope_path(scope)}" for scope in scopes}
        try:
            for link in [link for link in self._links() if link not in kept]:
                version = os.path.realpath(link)
                _remove_link(link)
                _remove_version(version)
        except OSError as error:
            raise EdgeError(
                f"removing scopes that are none of this node's: {_reason(error)}", retryable=True
            ) from error

    def _links(self) -> Iterable[str]:
        for folder in (self._root, f"{self._root}/vpc"):
            for entry in os.scandir(folder):
                if entry.is_symlink():
                    yield entry.path

    # One change: a temporary file and a rename.

    def _single(self, change: Change, failed: dict[ResourceKey, str]) -> None:
        key = change.key
        folder = f"{self._root}/{scope_path(key.scope)}"
        path = f"{folder}/{_relative(key)}"
        try:
            present = _revision_of(path)
            if present is not None and present > change.revision:
                return
            if change.op is Op.UPSERT:
                self._put(folder, path, change, present=present is not None)
            elif present is not None:
                os.unlink(path)
                self._settle(os.path.dirname(path))
                self._drop_if_empty(folder, os.path.dirname(path))
        except (OSError, TypeError, ValueError, RecursionError) as error:
            failed[key] = _reason(error)

    def _put(self, folder: str, path: str, change: Change, *, present: bool) -> None:
        temporary = f"{self._staging}/file"
        self._write(temporary, encode_document(change))
        if failpoints.armed:
            failpoints.armed.reach("applier.file.before")
        if present and not self._fsync:
            self._replacement.replace(temporary, path)
        else:
            try:
                os.rename(temporary, path)
            except FileNotFoundError:
                self._make_folders(folder, change.key)
                os.rename(temporary, path)
            self._settle(os.path.dirname(path))
        if failpoints.armed:
            failpoints.armed.reach("applier.file.after")

    def _make_folders(self, folder: str, key: ResourceKey) -> None:
        if not os.path.lexists(folder):
            version = self._new_version(key.scope)
            self._turn(folder, version)
        os.makedirs(f"{folder}/{file_name(key.kind)}", exist_ok=True)

    def _drop_if_empty(self, folder: str, kind_folder: str) -> None:
        try:
            os.rmdir(kind_folder)
            os.rmdir(os.path.realpath(folder))
        except OSError:
            return  # something else is still in it
        os.unlink(folder)

    # Several changes at once: a new version and a turn of the link.

    def _swap(
        self, scope: Scope, changes: Sequence[Change], *, complete: bool
    ) -> dict[ResourceKey, str]:
        folder = f"{self._root}/{scope_path(scope)}"
        old = os.path.realpath(folder) if os.path.lexists(folder) else None
        try:
            version = self._new_version(scope)
        except OSError as error:
            return _all_failed(scope, changes, error)
        staged = _Version(version, old)
        try:
            failed = self._fill(staged, changes, complete=complete)
            if failpoints.armed:
                failpoints.armed.reach("applier.link.before")
            if staged.kinds:
                self._turn(folder, version)
            else:
                _remove_link(folder)
                _remove_version(version)
        except OSError as error:
            _remove_version(version)
            return _all_failed(scope, changes, error)
        if failpoints.armed:
            failpoints.armed.reach("applier.link.after")
        if old is not None:
            _remove_version(old)
        return failed

    def _fill(
        self, staged: _Version, changes: Sequence[Change], *, complete: bool
    ) -> dict[ResourceKey, str]:
        failed = {}
        if not complete:
            staged.keep_all_but({_relative(change.key) for change in changes})
        for change in changes:
            relative = _relative(change.key)
            present = staged.present_revision(relative)
            if present is not None and present > change.revision:
                staged.keep(relative)
            elif change.op is Op.UPSERT:
                try:
                    self._write(staged.place(relative), encode_document(change))
                except (OSError, TypeError, ValueError, RecursionError) as error:
                    failed[change.key] = _reason(error)
                    if present is not None:
                        staged.keep(relative)
        staged.drop_empty_kinds()
        for kind in staged.kinds:
            self._settle(f"{staged.path}/{kind}")
        return failed

    def _new_version(self, scope: Scope) -> str:
        self._number += 1
        name = scope_path(scope).replace("/", "@")
        version = f"{self._versions}/{name}@{self._number}"
        os.mkdir(version)
        return version

    def _turn(self, folder: str, version: str) -> None:
        self._settle(version)
        up = "../" if os.path.dirname(folder) != self._root else ""
        temporary = f"{self._staging}/link"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(f"{up}.versions/{os.path.basename(version)}", temporary)
        os.rename(temporary, folder)
        self._settle(os.path.dirname(folder))

    def _write(self, path: str, data: bytes) -> None:
        file = os.open(path, _CREATE, _FILE_MODE)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
            if self._fsync:
                os.fsync(file)
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(file)

    def _settle(self, folder: str) -> None:
        """Bring a folder's entries to the disk, where that is asked for."""
        if not self._fsync:
            return
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class _Version:
    """A version of a scope's folder in the making; `old` is the one whose files it may link to.

    Paths within it are relative: `<kind>/<id>.json`, as encoded.
    """

    def __init__(self, path: str, old: str | None) -> None:
        self.path = path
        self.kinds: set[str] = set()
        self._old = old

    def present_revision(self, relative: str) -> int | None:
        """Return the revision in the old version, or None when it is not there."""
        return None if self._old is None else _revision_of(f"{self._old}/{relative}")

    def place(self, relative: str) -> str:
        """Return the path of a file to be written, with its folder made."""
        kind = relative.partition("/")[0]
        if kind not in self.kinds:
            os.mkdir(f"{self.path}/{kind}")
            self.kinds.add(kind)
        return f"{self.path}/{relative}"

    def keep(self, relative: str) -> None:
        """Take one file over from the old version."""
        os.link(f"{self._old}/{relative}", self.place(relative))

    def keep_all_but(self, changing: set[str]) -> None:
        """Take over every file that does not change."""
        if self._old is None:
            return
        for kind in os.listdir(self._old):
            for name in os.listdir(f"{self._old}/{kind}"):
                relative = f"{kind}/{name}"
                if relative not in changing:
                    self.keep(relative)

    def drop_empty_kinds(self) -> None:
        """Remove the folders of kinds whose every write failed."""
        for kind in tuple(self.kinds):
            with contextlib.suppress(OSError):
                os.rmdir(f"{self.path}/{kind}")
                self.kinds.discard(kind)


def _steps(plan: Plan) -> list[tuple[Scope, list[Change]]]:
    """Return the changes of each scope, scopes in the order in which they are to change."""
    scopes: dict[Scope, list[Change]] = {scope: [] for scope in plan.complete}
    for change in plan.changes:
        scopes.setdefault(change.key.scope, []).append(change)

    def turn(step: tuple[Scope, list[Change]]) -> int:
        scope, changes = step
        if scope.cls is not ScopeClass.VPC:
            return 1
        return 0 if any(change.op is Op.UPSERT for change in changes) else 2

    return sorted(scopes.items(), key=turn)


def _belong_together(scope: Scope, changes: Sequence[Change]) -> bool:
    if scope.cls is ScopeClass.PUBLIC or len(changes) < 2:
        return False
    return max(Counter(change.changeset for change in changes).values()) > 1


def _all_failed(scope: Scope, changes: Sequence[Change], error: OSError) -> dict[ResourceKey, str]:
    if not changes:
        raise EdgeError(f"{scope} cannot be emptied: {_reason(error)}", retryable=True) from error
    return dict.fromkeys((change.key for change in changes), _reason(error))


def _relative(key: ResourceKey) -> str:
    return f"{file_name(key.kind)}/{file_name(key.id)}{DOCUMENT_SUFFIX}"


def _revision_of(path: str) -> int | None:
    """Return a document's revision, 0 when it is cut short, None when there is none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        data = os.read(file, _READ_BYTES)
        if len(data) == _READ_BYTES:
            data += os.read(file, os.fstat(file).st_size)
        return decode_revision(data)
    finally:
        os.close(file)


def _remove_link(folder: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(folder)


def _remove_version(version: str) -> None:
    """Remove a version; what cannot be removed is left for the next `open` to clear."""
    with contextlib.suppress(OSError):
        _remove_contents(version)
        os.rmdir(version)


def _remove_contents(folder: str) -> None:
    for entry in tuple(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            _remove_contents(entry.path)
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)


def _number_of(version: str) -> int:
    number = version.rpartition("@")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error} ({type(error).__name__})"
    return f"the spec cannot be written as JSON: {error}"

"""Asking a tracker service, from another process.

The rule: a tracker that does not answer is an `EdgeError`, what it refuses is the caller's mistake,
and what it never heard of is None; nothing is guessed. Waits are long requests, asked again until
the caller's own time is over.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from southbound.errors import ConfigError, EdgeError, Fault
from southbound.resources import Changeset, Scope
from southbound.tracker.messages import (
    AcceptancesDocument,
    AnnouncementsDocument,
    ChangesetDocument,
    EffectiveHost,
    ListedChangeset,
    PartDocument,
)
from southbound.tracker.standing import Gate
from southbound.tracker.summary import Summary
from southbound.wire.keys import check_id

T = TypeVar("T")

_ANSWER_S = 10.0
_WAIT_S = 20.0
_BUSY_S = 0.2
_AT_ONCE = 500
_ANSWER_BYTES_MAX = 256 << 20
_SHOWN_BYTES = 500
_BUSY = 503
_NOT_YET = 504


class _Unknown(msgspec.Struct, frozen=True):
    unknown: tuple[str, ...] = ()


class _Listed(msgspec.Struct, frozen=True):
    changesets: tuple[ListedChangeset, ...]


class _Error(msgspec.Struct, frozen=True):
    error: str = ""


class TrackerClient:
    """Asks one tracker. For one thread at a time; making it does no IO.

    `url`: `http://host:port`. Raises `ConfigError` for any other.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._port = parts.port or 80
        except ValueError as error:
            raise ConfigError(
                "unusable address of a tracker", [Fault("tracker", url, str(error))]
            ) from error
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            fault = Fault("tracker", url, "must be http://HOST:PORT")
            raise ConfigError("unusable address of a tracker", [fault])
        self._host = parts.hostname
        self._url = url

    def host(self, host: str) -> EffectiveHost | None:
        """Return what stands on a host, or None when nothing was told of it."""
        return self._get(f"/v1/hosts/{_id(host)}", {}, EffectiveHost)

    def gate(
        self,
        host: str,
        kind: str,
        id: str,
        *,
        revision: int | None = None,
        vpc: str = "",
        timeout_s: float = 30.0,
    ) -> Gate:
        """Wait until a resource is fully programmed on a host, or the time is over; say how it is."""
        query = {
            "kind": check_id(kind, "kind"),
            "id": check_id(id, "id"),
            "revision": str(revision or ""),
            "vpc": check_id(vpc, "vpc") if vpc else "",
        }
        deadline_s = time.monotonic() + timeout_s
        while True:
            rest_s = max(deadline_s - time.monotonic(), 0.0)
            asked = {**query, "timeout_s": f"{min(rest_s, _WAIT_S):.3f}"}
            gate = self._get(f"/v1/hosts/{_id(host)}/gate", asked, Gate)
            if gate is None:
                # A gate answers for hosts of which nothing was told, too.
                raise self._no_tracker("it knows no gates")
            if gate.ready or time.monotonic() >= deadline_s:
                return gate

    def changeset(self, id: str, *, names: int = 100, timeout_s: float = 0.0) -> Summary | None:
        """Return what became of a changeset, or None; wait so long for one that was announced."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            rest_s = max(deadline_s - time.monotonic(), 0.0)
            query = {"names": str(names), "timeout_s": f"{min(rest_s, _WAIT_S):.3f}"}
            found = self._get(f"/v1/changesets/{_id(id)}", query, Summary)
            is_done = found is None or found.settled or found.standing in {"refused", "heard"}
            if is_done or time.monotonic() >= deadline_s:
                return found

    def changesets(self, *, only_open: bool = False, limit: int = 100) -> Sequence[ListedChangeset]:
        """Return the latest changesets, or those that are not applied everywhere."""
        query = {"open": "1" if only_open else "0", "limit": str(limit)}
        found = self._get("/v1/changesets", query, _Listed)
        return () if found is None else found.changesets

    def announce(self, changesets: Iterable[Changeset]) -> None:
        """Have changesets followed; call it before anything of them is sent."""
        now_us = time.time_ns() // 1_000
        documents = [_document(one, now_us) for one in changesets]
        for at in range(0, len(documents), _AT_ONCE):
            body = AnnouncementsDocument(tuple(documents[at : at + _AT_ONCE]))
            self._ask("POST", "/v1/changesets", dict[str, int], body)

    def settle(self, accepted: Sequence[str], refused: Mapping[str, str]) -> tuple[str, ...]:
        """Tell which announced ones were accepted, and why others were not; return unknown ones."""
        body = AcceptancesDocument(tuple(accepted), refused)
        answer = self._ask("POST", "/v1/acceptances", _Unknown, body)
        return () if answer is None else answer.unknown

    def _get(self, path: str, query: Mapping[str, str], kind: type[T]) -> T | None:
        asked = urlencode({name: value for name, value in query.items() if value})
        return self._ask("GET", f"{path}?{asked}" if asked else path, kind)

    def _ask(self, method: str, path: str, kind: type[T], document: Any = None) -> T | None:
        """Return the answer; None for 404. One that is busy is asked again for a while."""
        body = None if document is None else msgspec.json.encode(document)
        deadline_s = time.monotonic() + _ANSWER_S
        while True:
            status, answer = self._once(method, path, body)
            if status < http.client.BAD_REQUEST or status == _NOT_YET:
                return self._understood(answer, kind)
            if status == http.client.NOT_FOUND:
                return None
            if status != _BUSY or time.monotonic() >= deadline_s:
                raise self._refusal(status, answer)
            time.sleep(_BUSY_S)

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_WAIT_S + _ANSWER_S)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = response.read(_ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise EdgeError(
                f"the tracker at {self._url} does not answer: {error}", retryable=True
            ) from error
        finally:
            connection.close()
        if len(answer) > _ANSWER_BYTES_MAX:
            raise EdgeError(
                f"the tracker at {self._url} answers with more than {_ANSWER_BYTES_MAX} bytes",
                retryable=False,
            )
        return response.status, answer

    def _understood(self, answer: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._no_tracker(str(error)) from error

    def _no_tracker(self, why: str) -> EdgeError:
        return EdgeError(f"what answers at {self._url} is no tracker: {why}", retryable=False)

    def _refusal(self, status: int, answer: bytes) -> ConfigError | EdgeError:
        try:
            why = msgspec.json.decode(answer, type=_Error).error
        except (msgspec.MsgspecError, ValueError, RecursionError):
            why = answer[:_SHOWN_BYTES].decode(errors="replace").strip()
        message = f"the tracker at {self._url} says: {why or status}"
        if status < http.client.INTERNAL_SERVER_ERROR:
            return ConfigError(message)
        return EdgeError(message, retryable=True)


def _document(changeset: Changeset, sent_us: int) -> ChangesetDocument:
    scopes: dict[Scope, list[tuple[str, str, int]]] = {}
    for one in changeset.resources:
        scopes.setdefault(one.scope, []).append((one.kind, one.id, one.revision))
    parts = tuple(
        PartDocument(cls=scope.cls, scope=scope.id, resources=tuple(resources))
        for scope, resources in scopes.items()
    )
    return ChangesetDocument(changeset.id, sent_us, parts)


def _id(id: str) -> str:
    return quote(check_id(id, "id"), safe="")

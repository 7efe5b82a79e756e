"""The questions over HTTP, in JSON (docs/operations.md).

    GET  /v1/hosts/<host>
    GET  /v1/hosts/<host>/gate?kind=port&id=..&revision=..&vpc=..&timeout_s=..   200 ready, 504 not yet
    GET  /v1/changesets?open=1&limit=100
    GET  /v1/changesets/<id>?timeout_s=..&names=..
    POST /v1/changesets    {"changesets": [{"id", "sent_us", "parts": [{"class", "scope", "resources"}]}]}
    POST /v1/acceptances   {"accepted": [id, ..], "refused": {id: why}}

The rule: a mistake of who asks is 400 with the field's name; what nobody told of is 404; what the
tracker itself lacks at the moment is 503. Ids in paths are percent-encoded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

import msgspec

from southbound import failpoints
from southbound.errors import ConfigError, Fault, SouthboundError, WireError
from southbound.nca.health import Reply, Request
from southbound.resources import PUBLIC_SCOPE, ResourceKey, Scope, ScopeClass
from southbound.tracker.board import Announcement, Part, part_text
from southbound.tracker.counters import TrackerCounters
from southbound.tracker.messages import (
    AcceptancesDocument,
    AnnouncementsDocument,
    ChangesetDocument,
    PartDocument,
)
from southbound.tracker.questions import Questions, resource_of
from southbound.tracker.service import TrackerService
from southbound.wire.keys import check_id, encode_key

_DIGITS_MAX = 18
_NAMES = 100
_LIMIT = 100
_SHOWN_BYTES = 80
_encoder = msgspec.json.Encoder()
T = TypeVar("T")


class Api:
    """Answers requests. Thread-safe."""

    def __init__(self, service: TrackerService) -> None:
        self._service = service
        self._questions = Questions(service)
        self._counters: TrackerCounters = service.counters

    def answer(self, request: Request) -> Reply | None:
        """Answer, or return None for a path that is none."""
        try:
            reply = self._route(request)
        except (ConfigError, WireError) as error:
            reply = _reply(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except SouthboundError as error:
            reply = _reply(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})
        if failpoints.armed:
            failpoints.armed.reach("tracker.answer.before")
        if reply is not None:
            code = str(reply.status.value)
            self._counters.requests[code] = self._counters.requests.get(code, 0) + 1
        return reply

    def _route(self, request: Request) -> Reply | None:
        match (request.method, *request.path):
            case ("GET" | "HEAD", "v1", "hosts", host):
                return _found(self._questions.host(host), f"nothing was told of host {host!r}")
            case ("GET" | "HEAD", "v1", "hosts", host, "gate"):
                return self._gate(host, request.query)
            case ("GET" | "HEAD", "v1", "changesets"):
                return self._list(request.query)
            case ("GET" | "HEAD", "v1", "changesets", id):
                return self._changeset(id, request.query)
            case ("POST", "v1", "changesets"):
                return self._announce(request.body)
            case ("POST", "v1", "acceptances"):
                return self._accept(request.body)
            case _:
                return None

    def _gate(self, host: str, query: Mapping[str, str]) -> Reply:
        resource = resource_of(
            host, query.get("kind", "port"), query.get("id", ""), query.get("vpc", "")
        )
        revision = _whole(query, "revision", 0)
        gate = self._questions.gate(host, resource, revision or None, _seconds(query))
        status = HTTPStatus.OK if gate.ready else HTTPStatus.GATEWAY_TIMEOUT
        return _reply(status, {**msgspec.to_builtins(gate), "ready": gate.ready})

    def _list(self, query: Mapping[str, str]) -> Reply:
        only_open = query.get("open", "") not in {"", "0"}
        listed = self._questions.changesets(
            only_open=only_open, limit=_whole(query, "limit", _LIMIT)
        )
        return _reply(HTTPStatus.OK, {"changesets": listed})

    def _changeset(self, id: str, query: Mapping[str, str]) -> Reply:
        names = _whole(query, "names", _NAMES)
        found = self._questions.changeset(id, names, _seconds(query))
        if found is None:
            return _found(None, f"nothing stands of changeset {id!r}")
        return _reply(HTTPStatus.OK, {**msgspec.to_builtins(found), "complete": found.complete})

    def _announce(self, body: bytes) -> Reply:
        document = _decoded(body, AnnouncementsDocument)
        self._service.announce([_announcement(one) for one in document.changesets])
        return _reply(HTTPStatus.ACCEPTED, {"announced": len(document.changesets)})

    def _accept(self, body: bytes) -> Reply:
        document = _decoded(body, AcceptancesDocument)
        unknown = self._service.accepted(document.accepted)
        unknown += self._service.refused(document.refused)
        return _reply(HTTPStatus.ACCEPTED, {"unknown": unknown})


def _announcement(document: ChangesetDocument) -> Announcement:
    parts = tuple(_part(one) for one in document.parts)
    if not parts:
        _refuse("parts", [], "a changeset has at least one part")
    if len({part.scope for part in parts}) < len(parts):
        _refuse("parts", document.id, "a changeset has one part for each scope")
    return Announcement(check_id(document.id, "id"), parts, document.sent_us)


def _part(document: PartDocument) -> Part:
    scope = PUBLIC_SCOPE
    if document.cls is not ScopeClass.PUBLIC:
        scope = Scope(document.cls, check_id(document.scope, "scope"))
    revisions = {
        encode_key(ResourceKey(scope, check_id(kind, "kind"), check_id(id, "id"))): revision
        for kind, id, revision in document.resources
    }
    if not revisions or min(revisions.values()) < 1:
        _refuse("resources", document.resources, "must be some, with revisions from 1")
    return Part(part_text(scope), revisions)


def _refuse(place: str, value: object, problem: str) -> NoReturn:
    raise ConfigError("this announcement cannot be followed", [Fault(place, value, problem)])


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS_MAX:
        problem = f"must be a whole number of at most {_DIGITS_MAX} digits"
        raise ConfigError("bad request", [Fault(name, text, problem)])
    return int(text)


def _seconds(query: Mapping[str, str]) -> float:
    text = query.get("timeout_s", "") or "0"
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        fault = Fault("timeout_s", text, "must be a number of seconds")
        raise ConfigError("bad request", [fault])
    return seconds


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        shown = body[:_SHOWN_BYTES].decode(errors="replace")
        raise ConfigError("bad request", [Fault("body", shown, str(error))]) from error


def _found(answer: object, otherwise: str) -> Reply:
    if answer is None:
        return _reply(HTTPStatus.NOT_FOUND, {"error": otherwise})
    return _reply(HTTPStatus.OK, answer)


def _reply(status: HTTPStatus, document: Any) -> Reply:
    return Reply(status, _encoder.encode(document) + b"\n")

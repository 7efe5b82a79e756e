"""What can be asked of the tracker, and the answers.

The rule: an answer is made from what is committed, names what it does not know, and is bounded; a wait
ends when the answer is there or the time is over, and then says how it stands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import msgspec

from southbound.errors import Fault, InvalidResource
from southbound.resources import KINDS, ResourceKey, Scope, ScopeClass, host_scope, vpc_scope
from southbound.tracker.board import Announcement, Board, Part, part_text
from southbound.tracker.messages import EffectiveHost, EffectiveResource, ListedChangeset
from southbound.tracker.service import TrackerService, bell_of_host
from southbound.tracker.standing import Gate, Standing, judge_gate
from southbound.tracker.store import Reader
from southbound.tracker.summary import Summary, convergence
from southbound.wire.keys import check_id, decode_key, encode_key

_STATES = ("applied", "failed", "pending", "deleted")


class Questions:
    """Answers for any thread."""

    def __init__(self, service: TrackerService) -> None:
        self._service = service
        self._settings = service.settings

    def host(self, host: str) -> EffectiveHost | None:
        """Return what stands on a host, or None when nothing was ever told of it."""
        with self._reader() as reader:
            known = reader.host(host)
            standings = reader.standings(host)
        if known is None and not standings:
            return None
        resources = tuple(_effective(one) for one in standings if one.revision or one.is_open)
        if known is None:
            return EffectiveHost(host, "", 0, 0, resources)
        return EffectiveHost(host, known.cluster, known.heard_us, known.inventory_us, resources)

    def gate(
        self, host: str, resource: ResourceKey, revision: int | None, timeout_s: float
    ) -> Gate:
        """Wait until a resource is fully programmed on a host, or the time is over."""
        key = encode_key(resource)
        with self._reader() as reader:

            def look() -> Gate:
                troubled = reader.standings(host, only_open=True)
                return judge_gate(
                    host, key, revision, lambda one: reader.standing(host, one), troubled
                )

            gate = self._service.bells.wait(
                bell_of_host(host), look, lambda seen: seen.ready, self._bounded(timeout_s)
            )
        gates = self._service.counters.gates
        gates[gate.outcome.value] = gates.get(gate.outcome.value, 0) + 1
        return gate

    def changeset(self, id: str, names_max: int, timeout_s: float) -> Summary | None:
        """Return what became of a changeset; wait for an announced one to settle.

        One that nobody announced is put together from what stands, without waiting. None: nothing of
        it stands anywhere.
        """
        names_max = min(names_max, self._settings.names_max)
        self._service.bells.wait(
            id, lambda: self._service.is_open(id), lambda seen: not seen, self._bounded(timeout_s)
        )
        with self._reader() as reader:
            summary = self._service.announced(id, reader, names_max)
            if summary is not None:
                return summary
            revisions = reader.of_changeset(id)
            return _summary_of(id, revisions, reader, names_max) if revisions else None

    def changesets(self, *, only_open: bool, limit: int) -> list[ListedChangeset]:
        """Return the latest changesets, or those that are not applied everywhere."""
        limit = min(limit, self._settings.names_max)
        with self._reader() as reader:
            rows = reader.changesets(only_open=only_open, limit=limit)
            heard = reader.unfinished(limit) if only_open else reader.heard(limit)
            announced = [self._listed(row.id, row.at_us, reader) for row in rows]
        known = {row.id for row in rows}
        others = [
            ListedChangeset(id, "heard", 0, settled=False, not_yet=number)
            if only_open
            else ListedChangeset(id, "heard", number, settled=None)
            for id, number in heard
            if id not in known
        ]
        return sorted(announced + others, key=lambda one: (-one.at_us, one.changeset))[:limit]

    def _listed(self, id: str, at_us: int, reader: Reader) -> ListedChangeset:
        summary = self._service.announced(id, reader, 0)
        if summary is None:
            return ListedChangeset(id, "sent", at_us, settled=None)
        counts = summary.counts
        return ListedChangeset(
            id,
            summary.standing,
            at_us,
            summary.settled,
            counts.get("applied", 0) + counts.get("superseded", 0),
            sum(counts.get(word, 0) for word in ("failed", "pending", "silent")),
        )

    def _bounded(self, timeout_s: float) -> float:
        return min(max(timeout_s, 0.0), self._settings.wait_max_s)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Reader]:
        reader = self._service.store.reader()
        try:
            yield reader
        finally:
            reader.close()


def resource_of(host: str, kind: str, id: str, vpc: str) -> ResourceKey:
    """Return the resource that a gate asks about. Raises `InvalidResource` naming the field."""
    check_id(host, "host")
    check_id(kind, "kind")
    check_id(id, "id")
    known = KINDS.get(kind)
    cls = known.cls if known is not None else None
    if cls is ScopeClass.PUBLIC:
        fault = Fault("kind", kind, "is public: it is on one of its workers, not on a host")
        raise InvalidResource("no gate for this kind", [fault])
    in_vpc = cls is ScopeClass.VPC or bool(vpc)
    return ResourceKey(vpc_scope(check_id(vpc, "vpc")) if in_vpc else host_scope(host), kind, id)


def _effective(one: Standing) -> EffectiveResource:
    key = one.resource
    state = one.open.name.lower() if one.is_open else "deleted" if one.deleted else "applied"
    assert state in _STATES
    return EffectiveResource(
        str(key.scope),
        key.kind,
        key.id,
        state,
        one.revision,
        one.since_us,
        one.changeset,
        one.open_revision,
        one.open_changeset,
        one.open_us if one.is_open else 0,
        one.detail,
    )


def _summary_of(id: str, revisions: Mapping[bytes, int], reader: Reader, names_max: int) -> Summary:
    """Put a changeset together that nobody announced, from what was told of it, and resolve it."""
    board = Board(1, lambda _seconds: None)
    followed, _ = board.announce(Announcement(id, _parts_of(revisions), 0))
    for scope in board.unexpected(followed):
        board.expect(followed, scope, reader.followers(scope.id))
    for host, keys in board.wanted(followed):
        found = (reader.standing(host, key) for key in keys)
        board.recall(host, [one for one in found if one is not None])
    summary = board.summary(followed, names_max)
    first_us = min(followed.took_us.values(), default=0)
    took = convergence(followed.took_us, first_us, "first report")
    return msgspec.structs.replace(summary, standing="heard", convergence=took)


def _parts_of(revisions: Mapping[bytes, int]) -> tuple[Part, ...]:
    scopes: dict[Scope, dict[bytes, int]] = {}
    for key, revision in revisions.items():
        scopes.setdefault(decode_key(key).scope, {})[key] = revision
    return tuple(Part(part_text(scope), keys) for scope, keys in scopes.items())

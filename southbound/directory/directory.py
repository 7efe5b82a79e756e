"""Where everything lives: the directory's face.

The rule: Redis finds, Kafka decides (docs/design.md §4). Look-ups come from memory, then from Redis;
whatever is new is decided by the journal before anybody may use it. A look-up may give an old
placement, which the fence turns, but never one that was not journaled, and "unknown" is only said
when the journals have been read: while they cannot be, a look-up fails instead.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec

from southbound.directory.audit import Alone, Audit, Difference
from southbound.directory.cache import Cache
from southbound.directory.chronicle import Chronicler
from southbound.directory.decider import Decider, Reservation
from southbound.directory.follower import Follower
from southbound.directory.forward import Forward, Progress, TopologyChanged
from southbound.directory.index import Index, parse_reservations
from southbound.directory.index import Reservation as Kept
from southbound.directory.keys import (
    HOST,
    PUBLIC,
    TOPOLOGY_TEXT,
    VPC,
    parts_of,
    public_field,
    public_pool,
    text_of,
)
from southbound.directory.memory import Memory
from southbound.directory.registrar import Newcomers, Registrar
from southbound.directory.rollcall import RollCall
from southbound.directory.rows import RowReader
from southbound.directory.topologies import (
    CurrentTopology,
    Stored,
    encode_stored,
    pool_slots,
    succeed,
)
from southbound.directory.verdict import Held
from southbound.edge.redis import RedisLink
from southbound.edge.resp import visitor_link
from southbound.errors import ConfigError, EdgeError, Fault, StaleMap, UnknownScope
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Topology
from southbound.pieces import in_pieces
from southbound.resources import Scope, ScopeClass
from southbound.settings import DirectorySettings
from southbound.wire.keys import SEPARATOR, check_id, id_problem, scope_text

_Row = TypeVar("_Row")
_Done = TypeVar("_Done")
_IDLE_S = 10.0
_FAULTS_MAX = 20
_CLASSES = {HOST: "host", VPC: "VPC", PUBLIC: "public resource"}
_SCOPES = {HOST: ScopeClass.HOST, VPC: ScopeClass.VPC}


def _side_by_side(lanes: Sequence[Iterator[_Done]]) -> Iterator[_Done]:
    """Yield what the lanes yield, each advanced by a thread of its own, one step at a time.

    The first error ends it, once the steps under way have ended.
    """
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

    end = object()
    with ThreadPoolExecutor(len(lanes), thread_name_prefix="southbound-lane") as threads:
        steps: dict[Future[Any], Iterator[_Done]] = {
            threads.submit(next, lane, end): lane for lane in lanes
        }
        while steps:
            for step in wait(steps, return_when=FIRST_COMPLETED).done:
                lane = steps.pop(step)
                done = step.result()
                if done is not end:
                    yield done
                    steps[threads.submit(next, lane, end)] = lane


class Directory:
    """One process' way to the directory. Thread-safe; making it does no IO.

    `topology`: used until the directory holds one; without it, `open` needs one in Redis.
    """

    def __init__(self, settings: DirectorySettings, topology: Topology | None = None) -> None:
        self._settings = settings
        self._current = CurrentTopology(topology)
        self._rows = RowReader()
        link = visitor_link if settings.visitor else RedisLink
        self._link = link(
            settings.redis_url, timeout_s=settings.redis_timeout_s, client_name=settings.client_id
        )
        self._index = Index(self._link, settings)
        self._forward = Forward(self._index, self._current, self._rows, settings)
        self._memory = Memory(self._link, self._index, self._forward, self._current, settings)
        self._memory.on_forget(self._forget)
        self._registrar = Registrar(self._index, self._forward, self._rows)
        self._decider = Decider(self._index, self._forward, self._rows)
        self._chronicler = Chronicler(self._forward, self._current, settings)
        self._roll_call = RollCall(self._link)
        self._audit = Audit(self._index, self._forward, self._current, self._rows, settings)
        size = 0 if settings.visitor else settings.cached_max
        self._hosts: Cache[Placement] = Cache(size, lambda placement: placement.epoch)
        self._vpcs: Cache[VpcPlacement] = Cache(size, lambda placement: placement.epoch)
        self._publics: Cache[int] = Cache(size, lambda _: 1)
        self._follower: Follower | None = None
        self._opening = threading.Lock()

    # Life.

    def open(self) -> None:
        """Connect, bring Redis up to date, and follow what changes.

        Raises `EdgeError` when Redis does not answer (call again later) and `ConfigError` when
        there is no topology, neither given nor stored.
        """
        with self._opening, self._visit():
            self._memory.settle()
            if not self._current.known:
                raise self._no_topology()
            if self._follower is None and not self._settings.visitor:
                self._follower = Follower(
                    self._index,
                    self._memory,
                    self._take_change,
                    lambda: self._forward.rest(_IDLE_S),
                    self._settings.follow_wait_s,
                )
                self._follower.start()

    def close(self) -> None:
        """Stop following and let go of all connections."""
        with self._opening:
            follower, self._follower = self._follower, None
        if follower is not None:
            follower.close()
        self._forward.rest()
        self._link.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def topology(self) -> Topology:
        """The newest topology known here. Raises `ConfigError` when there is none."""
        return self._current.topology

    def _no_topology(self) -> ConfigError:
        return ConfigError(
            f"the directory at {self._link.address} holds no topology: apply one first "
            "(southbound topology apply FILE); if Redis has lost it, rebuild the directory with "
            "the topology's file"
        )

    @contextmanager
    def _visit(self) -> Iterator[None]:
        """Let go of everything after a visitor's call."""
        try:
            yield
        finally:
            if self._settings.visitor:
                self._forward.rest()
                self._link.close()

    # Looking up.

    def hosts(self, ids: Iterable[str]) -> dict[str, Placement]:
        """Return where hosts live; one that nobody has registered is missing from the result.

        Raises `EdgeError`, retryable, when one is not known here and Redis does not answer or does
        not know the journals.
        """
        return self._find(HOST, self._hosts, self._rows.host, ids)

    def vpcs(self, ids: Iterable[str]) -> dict[str, VpcPlacement]:
        """Return where VPCs live; one that nobody has mentioned is missing. Errors as `hosts`."""
        return self._find(VPC, self._vpcs, self._rows.vpc, ids)

    def publics(self, kind: str, ids: Iterable[str]) -> dict[str, int]:
        """Return the partitions of public resources of a kind. Errors as `hosts`."""
        fields = {public_field(kind, id): id for id in ids}
        found = self._find(PUBLIC, self._publics, self._rows.public, fields)
        return {fields[field]: partition for field, partition in found.items()}

    def known_hosts(self, ids: Iterable[str]) -> dict[str, Placement]:
        """Return where hosts live as far as it is known here; asks nobody."""
        return self._believed(self._hosts).split(ids)[0]

    def known_vpcs(self, ids: Iterable[str]) -> dict[str, VpcPlacement]:
        """Return where VPCs live as far as it is known here; asks nobody."""
        return self._believed(self._vpcs).split(ids)[0]

    def known_publics(self, kind: str, ids: Iterable[str]) -> dict[str, int]:
        """Return the partitions of public resources as far as they are known; asks nobody."""
        fields = {public_field(kind, id): id for id in ids}
        known = self._publics.split(fields)[0]
        return {fields[field]: partition for field, partition in known.items()}

    def _find(
        self, letter: str, cache: Cache[_Row], parse: Callable[[str], _Row], fields: Iterable[str]
    ) -> dict[str, _Row]:
        known, missing = self._believed(cache).split(fields)
        if missing:
            with self._visit():
                known.update(self._read(letter, cache, parse, missing))
        return known

    def _read(
        self, letter: str, cache: Cache[_Row], parse: Callable[[str], _Row], fields: Sequence[str]
    ) -> dict[str, _Row]:
        more = f" and {len(fields) - 1} more" if len(fields) > 1 else ""
        what = f"{_CLASSES[letter]} {fields[0]!r}{more}".replace(SEPARATOR, "/")
        texts = [text_of(letter, field) for field in fields]
        for _ in range(self._settings.attempts_max):
            try:
                self._memory.settle()
                since, age = self._memory.version, cache.age
                found = self._index.rows(texts)
                if not self._memory.still(found.standing, since):
                    continue
            except EdgeError as error:
                raise EdgeError(
                    f"{what} is not known here, and the directory does not answer: {error}",
                    retryable=error.retryable,
                ) from error
            rows = {field: parse(row) for field, row in zip(fields, found.rows, strict=True) if row}
            cache.put(rows, age)
            if len(rows) == len(fields) or self._memory.check_absence(what):
                return rows
        raise EdgeError(f"Redis changes too often to look {what} up in it", retryable=True)

    def adopt(self, scope: Scope, row: str) -> None:
        """Take a newer row that a fence told, a host's or a VPC's; never back.

        Raises `WireError` when the text is no row.
        """
        if scope.cls is ScopeClass.HOST:
            self._hosts.put({scope.id: self._rows.host(row)}, self._hosts.age)
        elif scope.cls is ScopeClass.VPC:
            self._vpcs.put({scope.id: self._rows.vpc(row)}, self._vpcs.age)

    def _take_change(self, fields: Mapping[str, str]) -> None:
        """Take what the stream of changes says."""
        if "t" in fields:
            self._forward.load_topology()
        if "k" not in fields:
            return
        letter, field = parts_of(fields["k"])
        row = fields.get("r", "")
        if letter == HOST:
            self._hosts.put({field: self._rows.host(row)}, self._hosts.age)
        elif letter == VPC:
            self._vpcs.put({field: self._rows.vpc(row)}, self._vpcs.age)
        elif letter == PUBLIC:
            self._publics.put({field: self._rows.public(row)}, self._publics.age)

    def _believed(self, cache: Cache[_Row]) -> Cache[_Row]:
        """Return a cache, emptied when nothing has been heard of the map for too long.

        Past that a fence may have forgotten who has moved.
        """
        follower = self._follower
        if follower is not None and follower.silent_s > self._settings.believed_s:
            self._forget()
        return cache

    def _forget(self) -> None:
        for cache in (self._hosts, self._vpcs, self._publics):
            cache.forget()

    # Registering.

    def register_hosts(
        self, azs: Mapping[str, str], *, progress: Progress | None = None
    ) -> dict[str, Placement]:
        """Give hosts (id to AZ) their places; those that have one keep it. Returns all of them.

        May be repeated after any error. Raises `ConfigError` naming bad ids and AZs,
        `CapacityError` naming the AZ that is full, `EdgeError`.
        """
        self._check_hosts(azs)
        with self._visit():
            found = self._find_quietly(HOST, self._hosts, self._rows.host, azs)
            by_az: dict[str, list[str]] = {}
            for host, az in azs.items():
                if host not in found:
                    by_az.setdefault(az, []).append(host)
            for placed in self._in_lanes(by_az):
                found.update(placed)
                if progress is not None:
                    progress(len(found), len(azs))
            return found

    def _in_lanes(self, by_az: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Placement]]:
        """Register hosts round by round; of several AZs side by side, when there are many hosts.

        One AZ's work waits for Redis and Kafka while another's is computed here.
        """
        lanes = [
            # Not a generator expression here: it would look up its `az` when the loop is over.
            map(self._register, itertools.repeat(az), self._rounds(hosts))
            for az, hosts in by_az.items()
        ]
        if sum(map(len, by_az.values())) <= self._settings.round:
            yield from itertools.chain.from_iterable(lanes)
        else:
            yield from _side_by_side(lanes)

    def _lane(self, az: str, hosts: Sequence[str]) -> Iterator[dict[str, Placement]]:
        for piece in self._rounds(hosts):
            yield self._register(az, piece)

    def _find_quietly(
        self, letter: str, cache: Cache[_Row], parse: Callable[[str], _Row], fields: Iterable[str]
    ) -> dict[str, _Row]:
        """Look up what is there; absence need not be certain, since a registrar makes sure."""
        known, missing = cache.split(fields)
        if missing:
            self._memory.settle()
            age = cache.age
            rows = self._index.rows([text_of(letter, field) for field in missing]).rows
            read = {field: parse(row) for field, row in zip(missing, rows, strict=True) if row}
            cache.put(read, age)
            known.update(read)
        return known

    def _check_hosts(self, azs: Mapping[str, str]) -> None:
        there = {az.id for az in self.topology.azs}
        faults = []
        for host, az in azs.items():
            problem = id_problem(host)
            if problem is not None:
                faults.append(Fault("host", host, problem))
            elif az not in there:
                faults.append(
                    Fault(f"AZ of host {host}", az, f"must be one of {', '.join(sorted(there))}")
                )
            if len(faults) >= _FAULTS_MAX:
                break
        if faults:
            raise ConfigError("hosts that cannot be registered", faults)

    def _rounds(self, items: Sequence[str]) -> Iterator[Sequence[str]]:
        size = self._settings.round
        return (items[first : first + size] for first in range(0, len(items), size))

    def _steadily(self, work: Callable[[Topology], _Done]) -> _Done:
        """Do work that was decided by the topology, again whenever a newer one comes to light."""
        while True:
            try:
                return work(self.topology)
            except TopologyChanged:
                # The newer one is known now; versions only rise, so this ends.
                continue

    def _register(self, az: str, hosts: Sequence[str]) -> dict[str, Placement]:
        age = self._hosts.age

        def work(topology: Topology) -> dict[str, Held]:
            pools = topology.pools_in("host", az=az)
            return self._registrar.place(
                az, [Newcomers(HOST, hosts, pools, f"AZ {az!r}")], topology
            )

        held = self._steadily(work)
        placed = {host: self._rows.host(held[text_of(HOST, host)].row) for host in hosts}
        self._hosts.put(placed, age)
        return placed

    def ensure_vpcs(self, homes: Mapping[str, str | None]) -> dict[str, VpcPlacement]:
        """Return where VPCs live, making a home for those that have none.

        `homes`: VPC to the cluster wanted for its home, or None for the one whose VPC pool is the
        least loaded. Raises as `register_hosts`.
        """
        for vpc in homes:
            check_id(vpc, "vpc")
        with self._visit():
            found = self._find_quietly(VPC, self._vpcs, self._rows.vpc, homes)
            self._steadily(lambda topology: self._make_homes(homes, found, topology))
            return found

    def _make_homes(
        self,
        homes: Mapping[str, str | None],
        found: dict[str, VpcPlacement],
        topology: Topology,
    ) -> None:
        age = self._vpcs.age
        for az, groups in _homeless(homes, found, topology).items():
            held = self._registrar.place(az, groups, topology)
            made = {parts_of(text)[1]: self._rows.vpc(one.row) for text, one in held.items()}
            self._vpcs.put(made, age)
            found.update(made)

    def propose_vpc(
        self, vpc: str, replicas: tuple[Placement, ...], *, expected_epoch: int
    ) -> VpcPlacement:
        """Give a VPC another set of replicas, the home first, at `expected_epoch` + 1.

        Raises `StaleMap`, with the row that is there in `current`, when it is not at that epoch
        (any more); repeating a call that succeeded succeeds. Raises `EdgeError`.
        """
        topology = self.topology
        pools = [topology.pool(replica.pool) for replica in replicas]
        clusters = [pool.cluster for pool in pools]
        if not replicas or len(set(clusters)) < len(clusters) or any(p.cls != "vpc" for p in pools):
            fault = Fault(
                f"replicas of {vpc}", clusters, "must be one VPC pool each of some clusters"
            )
            raise ConfigError("not a set of replicas", [fault])
        text = text_of(VPC, vpc)
        wanted = VpcPlacement(expected_epoch + 1, replicas)
        with self._visit():
            self._memory.settle()
            made = self._steadily(
                lambda now: self._registrar.raise_vpc(now.journal_az(text).id, vpc, wanted, now)
            )
            self._vpcs.put({vpc: made}, self._vpcs.age)
            return made

    def reserve_slot(self, scope: Scope, cluster: str, epoch: int) -> Placement:
        """Reserve a slot of a cluster for a scope's placement at `epoch`.

        The same call finds the same slot again. The reservation counts until the scope's row has
        reached that epoch. Raises `StaleMap` when it has, `CapacityError`, `EdgeError`.
        """
        text = scope_text(scope)
        with self._visit():
            return self._steadily(
                lambda topology: self._registrar.reserve(
                    self._journal_az(scope, topology), text, epoch, cluster, topology
                )
            )

    def reserve_moves(self, wanted: Mapping[Scope, Placement]) -> dict[Scope, Reservation]:
        """Reserve for scopes the slots that pool and probe mean, for placements of their epochs.

        A reservation counts until the scope's row has reached that epoch; the same call finds it
        again. What cannot be reserved says why. Raises `EdgeError`.
        """
        found: dict[Scope, Reservation] = {}
        with self._visit():
            for az, scopes in self._by_journal(wanted).items():
                part = {scope: wanted[scope] for scope in scopes}
                reserve = partial(self._decider.reserve, az, part)
                found.update(self._steadily(reserve))
        return found

    def decide_rows(self, proposals: Mapping[Scope, str]) -> dict[Scope, str]:
        """Propose rows, each of the epoch after the present one; return the rows that hold then.

        The journal decides: of several rows of one epoch its first. Redis is told. May be repeated.
        Raises `EdgeError`, and `WireError` for a row that is none.
        """
        placed = {scope: self._first_placement(scope, row) for scope, row in proposals.items()}
        found: dict[Scope, str] = {}
        with self._visit():
            for az, scopes in self._by_journal(placed).items():
                texts = {
                    scope_text(scope): self._rows.held(scope_text(scope), proposals[scope])
                    for scope in scopes
                }
                held = self._steadily(partial(self._decider.decide, az, texts))
                for scope in scopes:
                    found[scope] = held[scope_text(scope)].row
                    self.adopt(scope, found[scope])
        return found

    def rows(self, scopes: Iterable[Scope]) -> dict[Scope, str]:
        """Return rows as Redis has them now, past all memory; those of nobody are missing.

        Raises `EdgeError`, retryable, as `hosts` does.
        """
        asked = list(scopes)
        if not asked:
            return {}
        texts = [scope_text(scope) for scope in asked]
        for _ in range(self._settings.attempts_max):
            self._memory.settle()
            since = self._memory.version
            found = self._index.rows(texts)
            if not self._memory.still(found.standing, since):
                continue
            rows = {scope: row for scope, row in zip(asked, found.rows, strict=True) if row}
            if len(rows) == len(asked) or self._memory.check_absence(f"{len(asked)} rows"):
                return rows
        raise EdgeError("Redis changes too often to read rows of it", retryable=True)

    def chronicle(self, scopes: Iterable[Scope]) -> dict[Scope, Mapping[int, str]]:
        """Return by epoch the rows that scopes have had, as far as the journals still tell them.

        Reads the journals from where they begin. Raises `EdgeError`.
        """
        texts = {scope_text(scope): scope for scope in scopes}
        with self._visit():
            found = self._chronicler.of(texts)
        return {texts[text]: rows for text, rows in found.items()}

    def reservations(self) -> dict[Scope, list[Kept]]:
        """Return the slots that are kept for hosts and VPCs until their rows name them.

        Raises `EdgeError`.
        """
        return {
            Scope(_SCOPES[letter], field): parse_reservations(found)
            for text, found in self._index.reservations()
            for letter, field in [parts_of(text)]
            if letter in _SCOPES
        }

    def release(self, kept: Mapping[Scope, Iterable[Kept]]) -> int:
        """Give up reservations; return how many of them were there as `reservations` told them.

        One that somebody carries on after all is no harm: its slot counts one more once the row does.
        Raises `EdgeError`.
        """
        pairs = [(scope_text(scope), one) for scope, those in kept.items() for one in those]
        return self._index.release(pairs)

    def _first_placement(self, scope: Scope, row: str) -> Placement:
        return self._rows.host(row) if scope.cls is ScopeClass.HOST else self._rows.vpc(row).home

    def _by_journal(self, placed: Mapping[Scope, Placement]) -> dict[str, list[Scope]]:
        """Return scopes by the AZ of their journal: a host's is that of any pool it may have."""
        topology = self.topology
        found: dict[str, list[Scope]] = {}
        for scope, placement in placed.items():
            if scope.cls is ScopeClass.VPC:
                az = topology.journal_az(scope_text(scope)).id
            else:
                az = topology.cluster(topology.pool(placement.pool).cluster).az
            found.setdefault(az, []).append(scope)
        return found

    def _journal_az(self, scope: Scope, topology: Topology) -> str:
        if scope.cls is ScopeClass.VPC:
            return topology.journal_az(scope_text(scope)).id
        placement = self.hosts([scope.id]).get(scope.id)
        if placement is None:
            raise UnknownScope("host", scope.id, "register it first")
        return topology.cluster(topology.pool(placement.pool).cluster).az

    def place_publics(self, kind: str, ids: Iterable[str]) -> dict[str, int]:
        """Return the partitions of public resources, giving those that have none the emptiest one.

        Counts of a kind's partitions then differ by at most one where they did before. Raises as
        `register_hosts`.
        """
        self.topology.public_kind(kind)
        fields = {public_field(kind, check_id(id, "id")): id for id in ids}
        with self._visit():
            found = self._find_quietly(PUBLIC, self._publics, self._rows.public, fields)
            self._steadily(lambda topology: self._place(kind, fields, found, topology))
            return {fields[field]: partition for field, partition in found.items()}

    def _place(
        self, kind: str, fields: Iterable[str], found: dict[str, int], topology: Topology
    ) -> None:
        by_az: dict[str, list[str]] = {}
        for field in fields:
            if field not in found:
                text = text_of(PUBLIC, field)
                by_az.setdefault(topology.journal_az(text).id, []).append(text)
        age = self._publics.age
        for az, texts in by_az.items():
            for piece in self._rounds(texts):
                held = self._registrar.publics(az, kind, piece, topology)
                made = {parts_of(text)[1]: int(one.row) for text, one in held.items()}
                self._publics.put(made, age)
                found.update(made)

    # The whole map.

    def hosts_scan(self) -> Iterator[tuple[str, Placement]]:
        """Yield every host, in no order, as Redis has it. Raises `EdgeError`."""
        self._memory.settle()
        return ((host, self._rows.host(row)) for host, row in self._index.scan(HOST))

    def vpcs_scan(self) -> Iterator[tuple[str, VpcPlacement]]:
        """Yield every VPC, in no order, as Redis has it. Raises `EdgeError`."""
        self._memory.settle()
        return ((vpc, self._rows.vpc(row)) for vpc, row in self._index.scan(VPC))

    def publics_scan(self) -> Iterator[tuple[str, str, int]]:
        """Yield (kind, id, partition) of every public resource, in no order. Raises `EdgeError`."""
        self._memory.settle()
        for field, row in self._index.scan(PUBLIC):
            kind, _, id = field.partition(SEPARATOR)
            yield kind, id, self._rows.public(row)

    def occupancy(self) -> dict[str, list[int]]:
        """Return how many placements each slot of each pool holds, reservations included.

        Slots are numbered topic x partitions + partition. Raises `EdgeError`.
        """
        return {pool.id: self._index.occupied(pool.id, pool.slots) for pool in self.topology.pools}

    def public_occupancy(self, kind: str) -> list[int]:
        """Return how many resources each partition of a public kind holds. Raises `EdgeError`."""
        partitions = self.topology.public_kind(kind).partitions
        return self._index.occupied(public_pool(kind), partitions)

    def sign_in(self, service: str, saying: str, troubles: Iterable[str], seconds: int) -> None:
        """Leave a sign that this process is at work as a service, for so many seconds.

        For people who look (`southbound doctor`); when Redis does not answer, there is none.
        """
        with self._visit():
            self._roll_call.sign(service, saying, tuple(troubles), seconds)

    def redis_time_us(self) -> int:
        """Return Redis' time in microseconds since 1970. Raises `EdgeError`."""
        return self._link.time_us()

    def map_version(self) -> int:
        """Return the map's version in Redis, which rises with every change. Raises `EdgeError`."""
        return self._index.status().standing.version

    def put_topology(self, wanted: Topology) -> int:
        """Make a topology the directory's; return its version, the old one when nothing changed.

        Its journals' topics must exist. Raises `ConfigError` with everything that cannot follow
        the topology that is there, `StaleMap` when somebody else changed it meanwhile, `EdgeError`.
        """
        if not self._current.known:
            self._current.adopt(Stored(msgspec.structs.replace(wanted, version=0)))
        with self._visit():
            self._memory.settle()
            for az in self.topology.azs:
                self._forward.to_end(az.id)
            stored = self._current.stored if self.topology.version else None
            following = succeed(stored, wanted, self._index.status().totals)
            if following is not stored:
                self._journal_topology(following, self.topology)
            return self.topology.version

    def _journal_topology(self, following: Stored, before: Topology) -> None:
        """Write a topology into every journal; the first one decides among several writers."""
        first = before.azs[0].id
        held = Held(following.topology.version, encode_stored(following))
        try:
            there = self._registrar.write_topology(first, held, before)
        except TopologyChanged:
            there = Held(self.topology.version, "")
        if there != held:
            raise StaleMap(f"somebody else has put version {there.epoch} of the topology meanwhile")
        for az in following.topology.azs:
            if az.id != first:
                self._registrar.write_topology(az.id, held, following.topology)

    def verify(self, progress: Progress | None = None) -> list[Difference]:
        """Compare Redis with the journals; return every difference. Raises `EdgeError`."""
        with self._visit():
            self._memory.settle()
            return self._audit.differences(progress)

    def rebuild(
        self, progress: Progress | None = None, losses: Literal["refuse", "keep", "drop"] = "refuse"
    ) -> None:
        """Recreate Redis from the journals alone. Raises `EdgeError`; may be repeated.

        Where Redis has lost the topology, give one at construction: its journals restore the rest.
        `losses`: what becomes of journals that have lost something, and of rows that Redis alone knows
        then. `refuse`: nothing is changed; `keep`: they are written into the journals first; `drop`:
        they go.
        """
        with self._visit():
            alone = self._audit.alone()
            if losses == "refuse" and (alone.faults or alone.rows):
                raise _loss(alone)
            if losses == "keep":
                self._keep(alone)
            self._forward.accept_losses()
            version = -1
            while version != self.topology.version:
                # A topology found on the way has pools that were not counted: once more.
                version = self.topology.version
                self._index.wipe(list(pool_slots(self.topology)))
                for az in self.topology.azs:
                    self._forward.to_end(az.id, progress)
            self._memory.mistrust()

    def _keep(self, alone: Alone) -> None:
        """Write what Redis alone knows into the journals: entries of their epochs, which nobody has."""
        topology = self.topology
        by_az: dict[str, list[tuple[str, Held]]] = {az: [] for az in alone.lacking}
        for az in alone.lacking:
            assert alone.topology is not None
            by_az[az].append((TOPOLOGY_TEXT, alone.topology))
        for text, held in alone.rows.items():
            letter, _ = parts_of(text)
            if letter == HOST:
                az = topology.cluster(topology.pool(self._rows.host(held.row).pool).cluster).az
            else:
                az = topology.journal_az(text).id
            by_az.setdefault(az, []).append((text, held))
        for az, entries in by_az.items():
            with self._forward.lane(az) as journal:
                for piece in in_pieces(entries, self._settings.round):
                    journal.append(piece)


def _loss(alone: Alone) -> EdgeError:
    words = [f"a journal has lost entries: {fault}" for fault in alone.faults]
    if alone.rows:
        first = min(alone.rows).replace(SEPARATOR, ":")
        words.append(f"{len(alone.rows)} rows stand in Redis alone, such as {first}")
    return EdgeError(
        f"{'; '.join(words)}. Nothing was changed: southbound directory rebuild --keep writes what Redis "
        "alone knows into the journals first, --drop lets it go",
        retryable=False,
    )


def _homeless(
    homes: Mapping[str, str | None], found: Mapping[str, VpcPlacement], topology: Topology
) -> dict[str, list[Newcomers]]:
    """Return the VPCs without a row, by the AZ of their journal and the pools they may have."""
    wanted: dict[tuple[str, str | None], list[str]] = {}
    for vpc, cluster in homes.items():
        if vpc not in found:
            az = topology.journal_az(text_of(VPC, vpc)).id
            wanted.setdefault((az, cluster), []).append(vpc)
    groups: dict[str, list[Newcomers]] = {}
    for (az, cluster), vpcs in wanted.items():
        if cluster is not None:
            topology.cluster(cluster)
        where = f"cluster {cluster!r}" if cluster is not None else "any cluster"
        pools = topology.pools_in("vpc", cluster=cluster)
        groups.setdefault(az, []).append(Newcomers(VPC, vpcs, pools, where))
    return groups

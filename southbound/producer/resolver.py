"""Finding placements that are not in memory, and making VPCs present where their ports are.

The rule: what may wait for Redis, for a journal or for a copy waits here and nowhere else, so that
changes to known places never queue behind unknown ones. Parts of one scope keep their order: while
one of them is here, those that follow it come here, too.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from southbound.directory import Directory
from southbound.errors import SouthboundError, UnknownScope
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Topology
from southbound.producer.core import Parcel, Route, route_public, route_vpc
from southbound.producer.routes import HostRoutes
from southbound.resources import Scope, ScopeClass
from southbound.wire.keys import decode_key

_ROUTES_MAX = 300_000


class Presence(Protocol):
    """Makes a VPC present, and complete, in a cluster."""

    def ensure_many(
        self, wanted: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], VpcPlacement | SouthboundError]:
        """Return for each (vpc, cluster) where the VPC lives now, or why it cannot be there."""
        ...


class Known(NamedTuple):
    """What is in memory about the parts of one call. `present`: (vpc, cluster) as it was found."""

    hosts: Mapping[str, Placement]
    vpcs: Mapping[str, VpcPlacement]
    topology: Topology
    present: dict[tuple[str, str], bool]


class Resolver:
    """The thread that asks. `send` takes parts with a route, `settle` those that have failed."""

    def __init__(
        self,
        directory: Directory,
        presence: Presence,
        *,
        send: Callable[[Sequence[Parcel]], None],
        settle: Callable[[Sequence[Parcel]], None],
    ) -> None:
        self._directory = directory
        self._presence = presence
        self._send = send
        self._settle = settle
        self._changed = threading.Condition()
        # Bounded by the publisher's buffer: every part here has room in it.
        self._waiting: list[Parcel] = []
        self._busy: Counter[Scope] = Counter()
        self._routes = HostRoutes(_ROUTES_MAX)
        self._present: set[tuple[str, str]] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="southbound-resolve", daemon=True)

    def start(self) -> None:
        """Start asking."""
        self._thread.start()

    def close(self) -> None:
        """Answer for what is here, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def put(self, parcels: Iterable[Parcel]) -> None:
        """Hand in parts without a route."""
        with self._changed:
            for parcel in parcels:
                self._waiting.append(parcel)
                self._busy[parcel.scope] += 1
            self._changed.notify()

    def try_route(self, parcels: Sequence[Parcel]) -> tuple[list[Parcel], list[Parcel]]:
        """Route what can be routed from memory alone; return (routed, the rest)."""
        known = self._known(parcels)
        busy = self._busy
        routed: list[Parcel] = []
        rest: list[Parcel] = []
        # What follows a part of its scope that must wait waits, too.
        behind: set[Scope] = set()
        for parcel in parcels:
            scope = parcel.scope
            route: Route | None = None
            if not (busy and busy.get(scope)) and not (behind and scope in behind):
                route = self._route(parcel, known)
            parcel.route = route
            if route is None:
                behind.add(scope)
                rest.append(parcel)
            else:
                routed.append(parcel)
        return routed, rest

    def _known(self, parcels: Sequence[Parcel]) -> Known:
        named = {vpc for parcel in parcels for vpc in parcel.vpcs}
        directory = self._directory
        return Known(
            directory.known_hosts(_ids(parcels, ScopeClass.HOST)),
            directory.known_vpcs([*_ids(parcels, ScopeClass.VPC), *named]),
            directory.topology,
            {},
        )

    def _route(self, parcel: Parcel, known: Known) -> Route | None:
        cls, id = parcel.scope
        if cls is ScopeClass.HOST:
            placement = known.hosts.get(id)
            if placement is None:
                return None
            route = self._routes.of_host(id, placement, known.topology)
            if parcel.vpcs:
                assert route.fence is not None
                if not self._are_present(parcel.vpcs, route.fence, known):
                    return None
            return route
        if cls is ScopeClass.VPC:
            replicas = known.vpcs.get(id)
            return None if replicas is None else route_vpc(id, replicas, known.topology)
        return self._known_public(parcel)

    def _are_present(self, vpcs: Sequence[str], cluster: str, known: Known) -> bool:
        for vpc in vpcs:
            pair = (vpc, cluster)
            found = known.present.get(pair)
            if found is None:
                found = self._is_present(vpc, cluster, known.vpcs.get(vpc), known.topology)
                known.present[pair] = found
            if not found:
                return False
        return True

    def is_present(self, parcel: Parcel) -> bool:
        """Tell whether the VPCs of a part's ports are known to be present where its route leads."""
        assert parcel.route is not None
        cluster, topology = parcel.route.keeper, self._directory.topology
        rows = self._directory.known_vpcs(parcel.vpcs) if parcel.vpcs else {}
        return all(self._is_present(vpc, cluster, rows.get(vpc), topology) for vpc in parcel.vpcs)

    def _is_present(
        self, vpc: str, cluster: str, row: VpcPlacement | None, topology: Topology
    ) -> bool:
        """A replica that was seen complete may have been dropped since: its row decides.

        A row that is not known here (any more) is looked up: what was seen says nothing by itself.
        """
        if row is None or (vpc, cluster) not in self._present:
            return False
        return row.in_cluster(cluster, topology) is not None

    def _known_public(self, parcel: Parcel) -> Route | None:
        keys = [decode_key(record.key) for record in parcel.records]
        partitions = [self._directory.known_publics(key.kind, [key.id]).get(key.id) for key in keys]
        known = [partition for partition in partitions if partition is not None]
        if len(known) < len(keys):
            return None
        return route_public([key.kind for key in keys], known, self._directory.topology)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
                parcels, self._waiting = self._waiting, []
                if not parcels:
                    return
            self._resolve(parcels)

    def _resolve(self, parcels: Sequence[Parcel]) -> None:
        of = defaultdict(list)
        for parcel in parcels:
            of[parcel.scope.cls].append(parcel)
        for one_class, resolve in (
            (of[ScopeClass.VPC], self._vpcs),
            (of[ScopeClass.HOST], self._hosts),
            (of[ScopeClass.PUBLIC], self._publics),
        ):
            if one_class:
                self._attempt(one_class, resolve)
        routed = [one for one in parcels if one.error is None]
        failed = [one for one in parcels if one.error is not None]
        for parcel in failed:
            error = parcel.error
            assert error is not None
            parcel.fail(error)
        with self._changed:
            # In this order and under this lock: a part that follows these is sent behind them.
            if routed:
                self._send(routed)
            self._busy.subtract(one.scope for one in parcels)
            self._busy += Counter()
        if failed:
            self._settle(failed)

    def _attempt(
        self, parcels: Sequence[Parcel], resolve: Callable[[Sequence[Parcel]], None]
    ) -> None:
        """Resolve together; when that fails, one by one, so that each gets its own error."""
        try:
            resolve(parcels)
        except SouthboundError as error:
            if len(parcels) == 1 or getattr(error, "retryable", False):
                for parcel in parcels:
                    parcel.error = parcel.error or error
                return
            for parcel in parcels:
                self._attempt([parcel], resolve)

    def _vpcs(self, parcels: Sequence[Parcel]) -> None:
        found = self._directory.ensure_vpcs({one.scope.id: None for one in parcels})
        topology = self._directory.topology
        for parcel in parcels:
            parcel.route = route_vpc(parcel.scope.id, found[parcel.scope.id], topology)

    def _hosts(self, parcels: Sequence[Parcel]) -> None:
        found = self._directory.hosts({one.scope.id for one in parcels})
        topology = self._directory.topology
        for parcel in parcels:
            host = parcel.scope.id
            if host not in found:
                parcel.error = UnknownScope("host", host, "register it first")
                continue
            parcel.route = self._routes.of_host(host, found[host], topology)
        self._make_present([one for one in parcels if one.error is None])

    def _make_present(self, parcels: Sequence[Parcel]) -> None:
        """Make the VPCs of the parts' ports present in the clusters of their hosts."""
        wanted: dict[tuple[str, str], None] = {}
        homes: dict[str, str | None] = {}
        rows = self._directory.known_vpcs({vpc for parcel in parcels for vpc in parcel.vpcs})
        topology = self._directory.topology
        for parcel in parcels:
            assert parcel.route is not None
            for vpc in parcel.vpcs:
                pair = (vpc, parcel.route.keeper)
                if not self._is_present(*pair, rows.get(vpc), topology):
                    wanted[pair] = None
                    homes.setdefault(vpc, parcel.route.keeper)
        if not wanted:
            return
        self._directory.ensure_vpcs(homes)
        made = self._presence.ensure_many(list(wanted))
        failed = {pair: one for pair, one in made.items() if isinstance(one, SouthboundError)}
        self._present.update(pair for pair in wanted if pair not in failed)
        for parcel in parcels:
            assert parcel.route is not None
            for vpc in parcel.vpcs:
                parcel.error = parcel.error or failed.get((vpc, parcel.route.keeper))

    def _publics(self, parcels: Sequence[Parcel]) -> None:
        keys = {one: [decode_key(record.key) for record in one.records] for one in parcels}
        wanted: dict[str, dict[str, None]] = defaultdict(dict)
        for key in (key for those in keys.values() for key in those):
            wanted[key.kind][key.id] = None
        found = {kind: self._directory.place_publics(kind, ids) for kind, ids in wanted.items()}
        topology = self._directory.topology
        for parcel in parcels:
            those = keys[parcel]
            partitions = [found[key.kind][key.id] for key in those]
            parcel.route = route_public([key.kind for key in those], partitions, topology)


def _ids(parcels: Iterable[Parcel], cls: ScopeClass) -> list[str]:
    return [one.scope.id for one in parcels if one.scope.cls is cls]

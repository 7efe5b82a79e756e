"""A VPC's replica in a further cluster: present, complete and sealed before a port may count on it.

The rule: the home's slot is the truth, and a replica is added to it under traffic in an order that a
model has walked through (docs/design.md §8): reserve and note the new slot's end, pre-copy, propose
the new set of replicas, tell the fences of the home's cluster, and only then note the home's end and
copy what it has gained; mend, seal. Every step may be repeated: whoever finds a replica without its
seal takes up from telling the fences, whatever became of the one that began.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from southbound.directory.directory import Directory
from southbound.errors import Closed, EdgeError, SouthboundError, StaleMap
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.rebalance.announcing import Announcer
from southbound.rebalance.copying import copies
from southbound.rebalance.stream import Stream
from southbound.resources import vpc_scope
from southbound.wire.control import Seal, encode_control
from southbound.wire.keys import seal_key

_ATTEMPTS_MAX = 20
_MENDINGS_MAX = 50
_SEALED_MAX = 500_000
_TURNS = 64
_THREADS = 4
_AGAIN_S = 0.05


class Seeder:
    """Makes VPCs present in clusters. Thread-safe; making it does no IO.

    `timeout_s` bounds each request to Kafka, and the wait for a home that is being moved.
    """

    def __init__(self, directory: Directory, *, client_id: str, timeout_s: float = 30.0) -> None:
        self._directory = directory
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._announcer = Announcer(client_id, timeout_s)
        self._sealed = _SealedReplicas(_SEALED_MAX)
        self._turns = tuple(threading.Lock() for _ in range(_TURNS))
        self._closing = threading.Event()

    def ensure(self, vpc: str, cluster: str) -> VpcPlacement:
        """Return the VPC's row, with a replica in `cluster` that is complete.

        A VPC that nobody has mentioned gets its home there. May be repeated after any error.
        Raises `EdgeError`; `CapacityError` when the cluster has no room; `PlanError` when there is
        no such cluster; `WireError` when a record of the VPC cannot be read; `Closed`.
        """
        row = self._row(vpc, cluster)
        if self._is_complete(vpc, cluster, row):
            return row
        # Only one thread seeds one replica; others that share its turn merely wait a little.
        with self._turns[hash((vpc, cluster)) % _TURNS]:
            return self._seed(vpc, cluster)

    def ensure_many(
        self, wanted: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], VpcPlacement | SouthboundError]:
        """Do the same for pairs of VPC and cluster, a few at once; return what became of each."""
        pairs = list(dict.fromkeys(wanted))
        if len(pairs) <= 1:
            return {pair: self._outcome(pair) for pair in pairs}
        with ThreadPoolExecutor(min(_THREADS, len(pairs)), "southbound-seeder") as threads:
            return dict(zip(pairs, threads.map(self._outcome, pairs), strict=True))

    def close(self) -> None:
        """Let go of all clients. Whoever waits gets `Closed`."""
        self._closing.set()
        self._announcer.close()

    def _outcome(self, pair: tuple[str, str]) -> VpcPlacement | SouthboundError:
        try:
            return self.ensure(*pair)
        except SouthboundError as error:
            return error

    def _row(self, vpc: str, cluster: str) -> VpcPlacement:
        if self._closing.is_set():
            raise Closed("the seeder is closed")
        row = self._directory.vpcs([vpc]).get(vpc)
        return row or self._directory.ensure_vpcs({vpc: cluster})[vpc]

    def _is_complete(self, vpc: str, cluster: str, row: VpcPlacement) -> bool:
        replica = row.in_cluster(cluster, self._directory.topology)
        if replica is None:
            return False
        return _is_original(row, replica) or self._sealed.has(vpc, cluster, replica.epoch)

    def _seed(self, vpc: str, cluster: str) -> VpcPlacement:
        seeding = Seeding(
            self._directory,
            self._announcer,
            vpc,
            cluster,
            Pace(self._client_id, self._timeout_s, self._closing),
        )
        for _ in range(_ATTEMPTS_MAX):
            row = self._row(vpc, cluster)
            if not seeding.unmended and self._is_complete(vpc, cluster, row):
                return row
            try:
                row = seeding.attempt(row)
            except StaleMap as stale:
                if isinstance(stale.current, VpcPlacement):
                    self._directory.adopt(vpc_scope(vpc), stale.current.row())
                continue
            replica = row.in_cluster(cluster, self._directory.topology)
            if replica is not None:
                self._sealed.add(vpc, cluster, replica.epoch)
            return row
        raise EdgeError(
            f"the replicas of VPC {vpc!r} change too often to add one in {cluster!r}",
            retryable=True,
        )


class Pace(msgspec.Struct, frozen=True):
    """By which name a seeding asks, how long it waits, and what ends it early."""

    client_id: str
    timeout_s: float
    closing: threading.Event


class Seeding:
    """The seeding of one VPC into one cluster, through as many attempts as the map needs.

    `unmended`: copies were written into the slot and not yet looked at since. They are, even when
    somebody else's replica won: a copy may have landed behind a newer revision.
    """

    def __init__(
        self, directory: Directory, announcer: Announcer, vpc: str, cluster: str, pace: Pace
    ) -> None:
        self._directory = directory
        self._announcer = announcer
        self._scope = vpc_scope(vpc)
        self._cluster = cluster
        self._pace = pace
        self.unmended = False

    def attempt(self, row: VpcPlacement) -> VpcPlacement:
        """Bring the replica to its seal, beginning with this row; return the row that holds.

        Raises `StaleMap` when another row holds, `EdgeError`, `CapacityError`, `WireError`.
        """
        replica = row.in_cluster(self._cluster, self._directory.topology)
        with self._stream(row.home) as home:
            if replica is None:
                return self._add(row, home)
            if replica == row.home:
                self._catch_up_home(home, replica)
                return row
            with self._stream(replica) as target:
                target.catch_up()
                if not target.history.sealed(replica.epoch):
                    self._complete(row, replica, home, target)
                elif self.unmended:
                    self._mend(target, replica.epoch)
        return row

    def _stream(self, placement: Placement) -> Stream:
        pace = self._pace
        return Stream(
            self._directory.topology, self._scope, placement, pace.client_id, pace.timeout_s
        )

    def _add(self, row: VpcPlacement, home: Stream) -> VpcPlacement:
        """Pre-copy into a slot, then propose the replica there, then complete it."""
        epoch = row.epoch + 1
        reserved = self._directory.reserve_slot(self._scope, self._cluster, epoch)
        with self._stream(reserved) as target:
            replica = msgspec.structs.replace(reserved, start=target.begin_at_end())
            self._catch_up_home(home, row.home)
            # A replica that cannot be written to fails here, before publishers count on it.
            self._copy(home, target, epoch)
            made = self._directory.propose_vpc(
                self._scope.id, (*row.replicas, replica), expected_epoch=row.epoch
            )
            self._complete(made, replica, home, target)
        return made

    def _complete(
        self, row: VpcPlacement, replica: Placement, home: Stream, target: Stream
    ) -> None:
        """Tell the fences, copy what the home's slot holds by then, mend, and seal."""
        home_cluster = self._directory.topology.cluster(home.address.cluster)
        self._announcer.announce(self._scope, row, home_cluster)
        self._catch_up_home(home, row.home)
        self._copy(home, target, replica.epoch)
        self._mend(target, replica.epoch)
        seal = encode_control(Seal(replica.epoch))
        target.append([(seal_key(self._scope, replica.epoch), seal)])

    def _catch_up_home(self, home: Stream, placement: Placement) -> None:
        """Read the home's slot to its end; where it moved in, at least up to its own seal."""
        deadline = time.monotonic() + self._pace.timeout_s
        home.catch_up()
        while placement.epoch > 1 and not home.history.sealed(placement.epoch):
            if self._pace.closing.wait(_AGAIN_S):
                raise Closed("the seeder is closed")
            if time.monotonic() > deadline:
                raise EdgeError(
                    f"the home of VPC {self._scope.id!r} is being moved to cluster "
                    f"{home.address.cluster}, and is not complete there yet",
                    retryable=True,
                )
            home.catch_up()

    def _copy(self, home: Stream, target: Stream, epoch: int) -> None:
        """Append to the target what the home has, as far as it was read, and the target has not."""
        target.catch_up()
        now_us = self._announcer.log_time.now_us()
        missing = copies(home.history.highest(now_us), target.history.highest(now_us), epoch)
        self.unmended = True
        target.append(missing)

    def _mend(self, target: Stream, epoch: int) -> None:
        """Append what a lower revision came behind, until nothing is."""
        for _ in range(_MENDINGS_MAX):
            target.catch_up()
            now_us = self._announcer.log_time.now_us()
            if target.append(target.history.inversions(now_us, epoch)) == 0:
                self.unmended = False
                return
        raise EdgeError(
            f"revisions of VPC {self._scope.id!r} keep coming in falling order in cluster "
            f"{target.address.cluster}",
            retryable=True,
        )


class _SealedReplicas:
    """Which replicas were seen sealed; when it is full, the oldest is looked at again."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._lock = threading.Lock()
        self._epochs: OrderedDict[tuple[str, str], int] = OrderedDict()

    def has(self, vpc: str, cluster: str, epoch: int) -> bool:
        """Tell whether the replica of that epoch was seen sealed."""
        return self._epochs.get((vpc, cluster)) == epoch

    def add(self, vpc: str, cluster: str, epoch: int) -> None:
        """Note that it was."""
        with self._lock:
            self._epochs[vpc, cluster] = epoch
            if len(self._epochs) > self._count_max:
                self._epochs.popitem(last=False)


def _is_original(row: VpcPlacement, replica: Placement) -> bool:
    """Tell whether a replica is a home that never moved: nothing was ever copied into it."""
    return replica == row.home and replica.epoch == 1

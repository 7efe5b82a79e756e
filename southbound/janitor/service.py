"""The janitor: sweeps over its share of the fleet, again and again.

The rule: everything that it does may be done twice, by several janitors at once, and left off
anywhere: it only repeats what is in the log already, and writes nulls that whoever looks next
judges by the same rules. A cluster that does not answer keeps no other from being swept.

What a sweep costs: one question for the ends of each cluster's slots, and what was written since
the last one. A slot is read as a whole once a day, or when something in it raises a doubt. In memory
are the keys of one batch of slots; placements and revisions are in a file.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from southbound.directory import Directory
from southbound.errors import Closed, ConfigError, EdgeError, Fault, SouthboundError, WireError
from southbound.janitor.books import Books
from southbound.janitor.clients import ClientPool
from southbound.janitor.clock import SweepClock
from southbound.janitor.ledgers import Ledgers, Manner
from southbound.janitor.notes import Note, Notes
from southbound.janitor.pace import Pace
from southbound.janitor.seals import Seals
from southbound.janitor.sweeping import Sweep, Tools
from southbound.janitor.tally import Stand, Tally
from southbound.partitioning.placement import Address
from southbound.partitioning.topology import (
    Cluster,
    Topology,
    public_topic_name,
    topic_name,
)
from southbound.settings import DirectorySettings, JanitorSettings
from southbound.wire.control import NULL_BELIEVED_US

log = logging.getLogger(__name__)

_BOOKS = "janitor.sqlite"
_AGAIN_S = 5.0


class Status(NamedTuple):
    """How the janitor stands: `live` while it works, `ready` once a sweep went through everything."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]


class Janitor:
    """Sweeps a share of the fleet. Making it does no IO; `run` and `run_once` are for one thread.

    `state_dir`: folder of its memory, which belongs to one process; None, or a dry run: it remembers
    nothing beyond its end. `topology`: used until the directory holds one. Raises `ConfigError` for
    settings that cannot be.
    """

    def __init__(
        self,
        settings: JanitorSettings,
        directory: DirectorySettings,
        state_dir: Path | None = None,
        topology: Topology | None = None,
    ) -> None:
        _check(settings)
        self.settings = settings
        self.tally = Tally()
        self.stand = Stand()
        self._notes = Notes()
        # It looks into Redis only to compare, so nothing of it may come from a cache.
        visiting = dataclasses.replace(directory, visitor=True)
        self._directory = Directory(visiting, topology)
        self._clock = SweepClock(self._directory.redis_time_us)
        self._pace = Pace(settings.records_per_second)
        file = None if state_dir is None or settings.dry_run else state_dir / _BOOKS
        self._books = Books(file)
        self._ledgers = Ledgers(self._books, self.tally, Manner(visiting, settings.dry_run))
        self._clients = ClientPool(settings.client_id, settings.timeout_s)
        self._tools = Tools(
            self._books,
            self._ledgers,
            self._clients,
            Seals(self._clients, self._pace, settings),
            self._pace,
            settings,
            self.tally,
            self._notes,
            self._clock,
        )
        self._is_working = False

    def notes(self) -> list[Note]:
        """Return the records that were appended, or would be, as far as they are listed."""
        return self._notes.list()

    def status(self) -> Status:
        """Return how it stands; for any thread."""
        reasons = list(self.stand.troubles)
        age_s = time.time() - self.stand.began_us / 1e6
        if not self.stand.began_us:
            reasons.append("no sweep has gone through everything yet")
        elif age_s > self.settings.compaction_lag_s:
            reasons.append(
                f"the last complete sweep began {age_s:.0f} s ago; compaction waits for "
                f"{self.settings.compaction_lag_s:.0f} s only"
            )
        return Status(self._is_working, not reasons, tuple(reasons))

    def stop(self) -> None:
        """Tell it to end; for any thread."""
        self._pace.stop()

    def run(self) -> None:
        """Sweep until told to end. Raises `ConfigError` for what waiting does not mend."""
        self._is_working = True
        try:
            self._open_patiently()
            while not self._pace.stopped:
                began_s = time.monotonic()
                self._sweep_once(thorough=False)
                rest_s = began_s + self.settings.sweep_every_s - time.monotonic()
                self._pace.rest(max(rest_s, 0.0))
        except Closed:
            log.info("the janitor ends")
        finally:
            self._is_working = False
            self._close()

    def run_once(self) -> None:
        """Look at every slot as a whole, once. Raises `EdgeError`, `ConfigError`, `Closed`."""
        self._is_working = True
        try:
            self._books.open()
            self._directory.open()
            self._sweep_once(thorough=True)
        finally:
            self._is_working = False
            self._close()
        if self.stand.troubles:
            raise EdgeError("; ".join(self.stand.troubles), retryable=True)

    def _open_patiently(self) -> None:
        self._books.open()
        while True:
            try:
                self._directory.open()
                return
            except EdgeError as error:
                log.warning("%s", error)
                self.stand.troubles = (str(error),)
            if self._pace.rest(_AGAIN_S):
                raise Closed("the janitor is told to end")

    def _close(self) -> None:
        self._ledgers.close()
        self._clients.close()
        self._directory.close()
        self._books.close()

    # A sweep.

    def _sweep_once(self, *, thorough: bool) -> None:
        began_us, began_s = time.time_ns() // 1000, time.monotonic()
        self._clock.begin()
        errors = self._ledgers.sync(self._directory.topology)
        topology = self._ledgers.topology(self._directory.topology)
        shares = {cluster: self._share(cluster, topology) for cluster in self._clusters(topology)}
        self.stand.slots = sum(map(len, shares.values()))
        for name, addresses in shares.items():
            errors += self._sweep_cluster(topology.cluster(name), addresses, topology, thorough)
        self.tally.sweeps += 1
        self.tally.failures += len(errors)
        self.stand.odd = self._books.odd()
        self.stand.sweep_s = time.monotonic() - began_s
        said = [*map(str, errors), self._clock.trouble]
        self.stand.troubles = tuple(dict.fromkeys(filter(None, said)))
        if not errors:
            self.stand.began_us = began_us
        for trouble in self.stand.troubles:
            log.warning("%s", trouble)
        if not self.settings.dry_run:
            self._sign_in()

    def _sign_in(self) -> None:
        """Leave a sign of life that stands as long as compaction waits for a janitor."""
        share = ", ".join((*self.settings.clusters, *self.settings.pools)) or "all"
        saying = f"swept {self.stand.slots} slots ({share}) in {self.stand.sweep_s:.1f} s"
        troubles = self.stand.troubles
        self._directory.sign_in("janitor", saying, troubles, int(self.settings.compaction_lag_s))

    def _sweep_cluster(
        self,
        cluster: Cluster,
        addresses: list[Address],
        topology: Topology,
        thorough: bool,  # noqa: FBT001  # handed through by its one caller
    ) -> list[SouthboundError]:
        sweep = Sweep(self._tools, cluster, topology, thorough=thorough)
        try:
            moves = self._ledgers.moves(cluster)
            moves.take_over()
            sweep.run(addresses)
            if not sweep.errors:
                before_us = self._clock.now_us() - int(self.settings.moves_retention_s * 1e6)
                moves.prune(self._directory, before_us)
        except (EdgeError, WireError) as error:
            return [*sweep.errors, error]
        return sweep.errors

    def _clusters(self, topology: Topology) -> list[str]:
        wanted = self.settings.clusters
        for id in wanted:
            topology.cluster(id)
        known = {pool for one in topology.clusters for pool, _ in _pools(one.id, topology)}
        faults = [
            Fault("pool", pool, f"must be one of {', '.join(sorted(known))}")
            for pool in self.settings.pools
            if pool not in known
        ]
        if faults:
            raise ConfigError("no such share", faults)
        return [one.id for one in topology.clusters if not wanted or one.id in wanted]

    def _share(self, cluster: str, topology: Topology) -> list[Address]:
        wanted = self.settings.pools
        return [
            address
            for pool, addresses in _pools(cluster, topology)
            if not wanted or pool in wanted
            for address in addresses
        ]


def _pools(cluster: str, topology: Topology) -> Iterator[tuple[str, Iterator[Address]]]:
    """Yield every pool of a cluster with its slots; a public kind is one, as `public/<kind>`."""
    for pool in topology.pools:
        if pool.cluster == cluster:
            topics = [topic_name(pool.id, topic) for topic in range(pool.topics)]
            yield pool.id, _addresses(cluster, topics, pool.partitions)
    for public in topology.public:
        if public.cluster == cluster:
            topic = public_topic_name(public.kind)
            yield f"public/{public.kind}", _addresses(cluster, [topic], public.partitions)


def _addresses(cluster: str, topics: list[str], partitions: int) -> Iterator[Address]:
    return (
        Address(cluster, topic, partition) for topic in topics for partition in range(partitions)
    )


def _check(settings: JanitorSettings) -> None:
    faults = []
    if settings.sweep_every_s > settings.compaction_lag_s / 2:
        problem = f"must be at most half of the compaction lag, {settings.compaction_lag_s:g} s"
        faults.append(Fault("sweep_every_s", settings.sweep_every_s, problem))
    if settings.moves_retention_s * 1e6 < 2 * NULL_BELIEVED_US:
        faults.append(Fault("moves_retention_s", settings.moves_retention_s, "must be two days"))
    if settings.delete_retention_s <= 0:
        faults.append(Fault("delete_retention_s", settings.delete_retention_s, "must be positive"))
    if settings.records_per_second < 0:
        problem = "must not be negative"
        faults.append(Fault("records_per_second", settings.records_per_second, problem))
    if faults:
        raise ConfigError("the janitor cannot work so", faults)

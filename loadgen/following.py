"""Reading for the simulated nodes of one process, until they have what was there.

The rule: whoever waits for tens of thousands of partitions looks at a few hundred at a time, and at
none again that is read up: looking holds up those who read. Fetches wait long, since nothing here
changes what a Consumer reads but a VPC that appears.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from loadgen.checker.histogram import Histogram
from loadgen.ends import ends_of
from loadgen.nodes.desks import ReaderSettings
from loadgen.nodes.hall import Counts, Hall, Place
from loadgen.nodes.readers import SharedReaders
from southbound.directory import Directory
from southbound.errors import EdgeError

_LOOK_S = 0.02
_LOOKED_AT = 500
_PLACES_EVERY_S = 1.0
_ASK_S = 300.0

READING = ReaderSettings(client_id="loadgen-reader", fetch_wait_ms=5_000)
"""How everything that is there is read, and how bare clients read the same."""


class Spans(NamedTuple):
    """Microseconds from the intended send until it stood, of hosts' changes and of VPCs'."""

    host: Histogram
    vpc: Histogram


class Following:
    """Readers of a hall, that can stand still. For one thread."""

    def __init__(
        self, directory: Directory, hall: Hall, settings: ReaderSettings = READING
    ) -> None:
        self._directory = directory
        self._hall = hall
        self._readers = SharedReaders(directory.topology, hall, settings)
        self._is_reading = False
        self._placed_s = 0.0

    @property
    def consumers(self) -> int:
        """How many Consumers read."""
        return self._readers.consumers

    def start(self) -> None:
        """Read on from where the hall is. Raises `EdgeError`."""
        if not self._is_reading:
            self._is_reading = True
            self._readers.start()

    def stop(self) -> None:
        """Stand still."""
        if self._is_reading:
            self._is_reading = False
            self._readers.close()

    def catch_up(self, timeout_s: float) -> None:
        """Return when everything is read that was there when this was asked, and no VPC is missing.

        Raises `EdgeError` when the time is over first, or when reading has failed.
        """
        deadline_s = time.monotonic() + timeout_s
        self._read_to(self._ends(), deadline_s)
        while wanted := self._place_wanted():
            if time.monotonic() > deadline_s:
                missing = ", ".join(sorted(wanted)[:3])
                raise EdgeError(f"VPCs that nodes name are nowhere: {missing}", retryable=True)
            time.sleep(_LOOK_S)
            self._read_to(self._ends(), deadline_s)

    def counts(self) -> Counts:
        """Return what was counted so far."""
        return self._readers.counts()

    def take_spans(self) -> Spans:
        """Return latencies since this was asked last."""
        with self._readers.lock:
            spans = Spans(self._hall.host_spans, self._hall.vpc_spans)
            self._hall.host_spans, self._hall.vpc_spans = Histogram(), Histogram()
        return spans

    def _ends(self) -> dict[Place, int]:
        """Ask for the ends of all that the hall reads."""
        with self._readers.lock:
            places = list(self._hall.positions())
        topology = self._directory.topology
        found: dict[Place, int] = {}
        for cluster in sorted({place[0] for place in places}):
            positions = [place[1:] for place in places if place[0] == cluster]
            ends = ends_of(topology.cluster(cluster), positions, _ASK_S)
            found |= {(cluster, *position): end for position, end in ends.items()}
        return found

    def _read_to(self, ends: Mapping[Place, int], deadline_s: float) -> None:
        for some in _pieces(ends):
            while (behind := self._readers.behind(some)) > 0:
                if time.monotonic() > deadline_s:
                    place = next(iter(some))
                    raise EdgeError(
                        f"{behind} of {len(some)} partitions are not read in time, from "
                        f"{place[1]}/{place[2]} of {place[0]} on",
                        retryable=True,
                    )
                if time.monotonic() - self._placed_s > _PLACES_EVERY_S:
                    self._place_wanted()
                time.sleep(_LOOK_S)

    def _place_wanted(self) -> set[str]:
        """Let VPCs be read that nodes have learned of; return those that were not read before."""
        self._placed_s = time.monotonic()
        with self._readers.lock:
            wanted = self._hall.unplaced()
        if not wanted:
            return wanted
        rows = self._directory.vpcs(wanted)
        now_us = time.time_ns() // 1_000
        with self._readers.lock:
            for vpc, row in rows.items():
                self._hall.place(vpc, row, high=None, now_us=now_us)
        return wanted


def _pieces(ends: Mapping[Place, int]) -> Iterator[dict[Place, int]]:
    rest = iter(ends.items())
    while some := dict(islice(rest, _LOOKED_AT)):
        yield some

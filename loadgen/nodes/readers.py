"""What brings records to simulated nodes: a few wide Consumers for all of them, or one for each.

The rule: both have one face. `SharedReaders` reads each partition once and lets the hall count what
every node would have read by itself. `SingleReaders` does what real agents do: each node has a hall
and a Consumer of its own, for the partitions that it needs and no other, and what it reads is
counted as it comes. That the two find the same is what a test and a benchmark show.

A thread that fails stops, and says why to whoever asks next.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from loadgen.checker.histogram import Histogram
from loadgen.nodes.desks import Desk, Ends, Position, Reader, ReaderSettings
from loadgen.nodes.hall import Counts, Hall, Place
from loadgen.nodes.tally import Limits
from southbound.errors import ConfigError, EdgeError, Fault
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Topology

_LOOK_S = 0.01
_SINGLES_MAX = 900
"""The client library takes one of a process's 1,024 thread-local keys for each Consumer."""


class _Threads:
    """Threads that repeat something until they are stopped; the first failure is kept."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._failure: Exception | None = None

    def repeat(self, what: Callable[[], object]) -> None:
        """Begin to repeat something on a thread of its own."""

        def run() -> None:
            try:
                while not self._stopping.is_set():
                    what()
            except Exception as error:  # noqa: BLE001  # whoever asks next gets it
                self._failure = self._failure or error

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def check(self) -> None:
        """Raise what a thread has failed with."""
        if self._failure is not None:
            raise EdgeError(
                f"reading has stopped: {self._failure}", retryable=False
            ) from self._failure

    def stop(self) -> None:
        """End all threads."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._stopping.clear()


class _Reading:
    """The desks of one hall."""

    def __init__(
        self, topology: Topology, hall: Hall, ends: Ends, settings: ReaderSettings
    ) -> None:
        self.hall = hall
        self.lock = threading.Lock()
        self.desks: list[Desk] = []
        self._topology = topology
        self._settings = settings
        self._reader = Reader(hall, self.lock, ends, settings)
        self._desk_of: dict[Place, Desk] = {}

    def open(self, clusters: Collection[str] | None = None) -> list[Desk]:
        """Begin to read what the hall wants in these clusters (None: all); return the new desks."""
        with self.lock:
            wanted: defaultdict[str, dict[Position, int]] = defaultdict(dict)
            for place, offset in self.hall.positions().items():
                if place not in self._desk_of and (clusters is None or place[0] in clusters):
                    wanted[place[0]][place[1:]] = offset
            self.hall.orders.clear()
        return [
            self._open_desk(cluster, part)
            for cluster, positions in wanted.items()
            for part in _parts(positions, self._settings.partitions_max)
        ]

    def close(self, clusters: Collection[str] | None = None) -> None:
        """Stop reading in these clusters; nothing may turn their desks any more."""
        for desk in [one for one in self.desks if clusters is None or one.cluster.id in clusters]:
            desk.close()
            self.desks.remove(desk)
            for at in desk.slots:
                self._desk_of.pop((desk.cluster.id, *at), None)

    def give_orders(self) -> list[Desk]:
        """Leave the hall's orders on the desks that are to do them; return desks made for them."""
        made = []
        while self.hall.orders:
            with self.lock:
                order = self.hall.orders.popleft()
                desk = self._desk_of.get(order.place) or self._roomiest(order.place[0])
            if desk is None:
                desk = self._open_desk(order.place[0], {})
                made.append(desk)
            with self.lock:
                self._desk_of[order.place] = desk
                desk.orders.append(order)
        return made

    def ends(self) -> dict[Place, int]:
        """Ask for the end of everything that is read."""
        return {
            (desk.cluster.id, *at): end
            for desk in list(self.desks)
            for at, end in desk.ends().items()
        }

    def behind(self, ends: Mapping[Place, int]) -> int:
        """Return how many partitions are not read up to these ends."""
        with self.lock:
            return sum(self.hall.slot(*place).position < end for place, end in ends.items())

    def _open_desk(self, cluster: str, positions: dict[Position, int]) -> Desk:
        desk = Desk(self._topology.cluster(cluster), self._reader)
        places = [(cluster, *at) for at in positions]
        self._mark(desk, positions)
        desk.open(positions)
        self.desks.append(desk)
        self._desk_of.update(dict.fromkeys(places, desk))
        return desk

    def _mark(self, desk: Desk, positions: dict[Position, int]) -> None:
        """Ask for the ends that snapshots wait for, before a long poll opens."""
        with self.lock:
            cluster = desk.cluster.id
            unmarked = [at for at in positions if self.hall.slot(cluster, *at).is_unmarked]
            desk.slots = {at: self.hall.slot(cluster, *at) for at in unmarked}
        if not unmarked:
            return
        ends = desk.ends()
        now_us = time.time_ns() // 1_000
        with self.lock:
            for at, end in ends.items():
                self.hall.mark((cluster, *at), end, now_us)
                positions[at] = self.hall.slot(cluster, *at).position

    def _roomiest(self, cluster: str) -> Desk | None:
        desks = [desk for desk in self.desks if desk.cluster.id == cluster]
        return min(desks, key=lambda desk: len(desk.slots), default=None)


class SharedReaders:
    """Reads each partition of a hall once, with a thread for every few thousand partitions.

    Take `lock` to look at the hall while it is read.
    """

    def __init__(
        self, topology: Topology, hall: Hall, settings: ReaderSettings | None = None
    ) -> None:
        self.hall = hall
        self._settings = settings or ReaderSettings()
        self._ends = Ends(topology, self._settings)
        self._reading = _Reading(topology, hall, self._ends, self._settings)
        self._threads: dict[str, _Threads] = {}

    @property
    def lock(self) -> threading.Lock:
        """Held while records are brought."""
        return self._reading.lock

    @property
    def consumers(self) -> int:
        """How many Consumers read."""
        return len(self._reading.desks)

    def start(self, clusters: Collection[str] | None = None) -> None:
        """Read everything that the hall wants in these clusters (None: all), from where it is.

        Also what was stopped before is gone on with. Raises `EdgeError`.
        """
        self._turn_all(self._reading.open(clusters))

    def stop(self, clusters: Collection[str]) -> None:
        """Read nothing in these clusters until `start`, as when a zone is away."""
        for cluster in clusters:
            threads = self._threads.pop(cluster, None)
            if threads is not None:
                threads.stop()
        self._reading.close(clusters)

    def ends(self) -> dict[Place, int]:
        """Ask for the end of every partition that is read. Raises `EdgeError`."""
        self._check()
        return self._reading.ends()

    def behind(self, ends: Mapping[Place, int]) -> int:
        """Return how many partitions are not read up to these ends. Raises `EdgeError`."""
        self._check()
        return self._reading.behind(ends)

    def caught_up(self) -> bool:
        """Tell whether everything is read that was there when this was asked."""
        return self.behind(self.ends()) == 0

    def wait(self, timeout_s: float, ends: Mapping[Place, int] | None = None) -> None:
        """Wait until everything up to these ends (None: those of now) is read.

        Raises `EdgeError` when the time is over first, or when reading has stopped.
        """
        _wait(self, timeout_s, ends)

    def counts(self) -> Counts:
        """Return what was counted so far."""
        with self.lock:
            return self.hall.counts()

    def digests(self) -> dict[str, int]:
        """Return the digest of every node."""
        with self.lock:
            return dict(self.hall.digests())

    def spans(self) -> tuple[Histogram, Histogram]:
        """Return the histograms of hosts' and of VPCs' changes (`Hall`)."""
        return self.hall.host_spans, self.hall.vpc_spans

    def close(self) -> None:
        """Stop reading."""
        for threads in self._threads.values():
            threads.stop()
        self._threads.clear()
        self._reading.close()
        self._ends.close()

    def _check(self) -> None:
        for threads in list(self._threads.values()):
            threads.check()

    def _turn_all(self, desks: Iterable[Desk]) -> None:
        for desk in desks:
            threads = self._threads.setdefault(desk.cluster.id, _Threads())
            threads.repeat(lambda desk=desk: self._turn(desk))  # type: ignore[misc]

    def _turn(self, desk: Desk) -> None:
        desk.turn(self._settings.poll_s)
        if self.hall.orders:
            self._turn_all(self._reading.give_orders())


class SingleReaders:
    """One hall and one Consumer (in each cluster that it needs) for every node.

    `hosts` and `vpcs`: where everybody is. A process can hold 900 Consumers; thousands of nodes are
    shared out among several processes. Raises `ConfigError` for more.
    """

    def __init__(
        self,
        topology: Topology,
        hosts: Mapping[str, Placement],
        vpcs: Mapping[str, VpcPlacement],
        settings: ReaderSettings | None = None,
        *,
        limits: Limits | None = None,
        threads: int = 2,
    ) -> None:
        if len(hosts) > _SINGLES_MAX:
            fault = Fault("hosts", len(hosts), f"at most {_SINGLES_MAX} in one process")
            raise ConfigError("too many single readers", [fault])
        self._settings = settings or ReaderSettings(queued_kbytes=1_024)
        self._readings: list[_Reading] = []
        self._vpcs = vpcs
        self._threads = _Threads()
        self._thread_count = threads
        self._ends = Ends(topology, self._settings)
        for host, placement in hosts.items():
            hall = Hall(topology, limits)
            hall.join(host, placement, high=None)
            self._readings.append(_Reading(topology, hall, self._ends, self._settings))

    @property
    def halls(self) -> Iterator[Hall]:
        """Every node's hall."""
        return (reading.hall for reading in self._readings)

    def start(self, clusters: Collection[str] | None = None) -> None:
        """Read what every node needs, in these clusters (None: all). Raises `EdgeError`."""
        self._mark_all(clusters)
        for reading in self._readings:
            reading.open(clusters)
        for first in range(self._thread_count):
            share = self._readings[first :: self._thread_count]
            if share:
                self._threads.repeat(lambda share=share: self._go_round(share))  # type: ignore[misc]

    def ends(self) -> dict[Place, int]:
        """Ask for the end of every partition that is read, each once. Raises `EdgeError`."""
        self._threads.check()
        wanted: defaultdict[str, set[Position]] = defaultdict(set)
        for reading in self._readings:
            for desk in list(reading.desks):
                wanted[desk.cluster.id].update(tuple(desk.slots))
        return self._ask(wanted)

    def behind(self, ends: Mapping[Place, int]) -> int:
        """Return how many partitions are not read up to these ends, each for each of its readers."""
        self._threads.check()
        total = 0
        for reading in self._readings:
            mine = {place for desk in list(reading.desks) for place in _places(desk)}
            total += reading.behind({place: ends[place] for place in mine & ends.keys()})
        return total

    def caught_up(self) -> bool:
        """Tell whether everything is read that was there when this was asked."""
        return self.behind(self.ends()) == 0

    def wait(self, timeout_s: float, ends: Mapping[Place, int] | None = None) -> None:
        """Wait until everything up to these ends (None: those of now) is read."""
        _wait(self, timeout_s, ends)

    def counts(self) -> Counts:
        """Return what was counted so far, of all nodes."""
        total = Counts()
        for reading in self._readings:
            with reading.lock:
                total.merge(reading.hall.counts())
        return total

    def digests(self) -> dict[str, int]:
        """Return the digest of every node."""
        found: dict[str, int] = {}
        for reading in self._readings:
            with reading.lock:
                found.update(reading.hall.digests())
        return found

    def spans(self) -> tuple[Histogram, Histogram]:
        """Return the histograms of hosts' and of VPCs' changes (`Hall`), of all nodes."""
        host, vpc = Histogram(), Histogram()
        for hall in self.halls:
            host.merge(hall.host_spans)
            vpc.merge(hall.vpc_spans)
        return host, vpc

    def close(self) -> None:
        """Stop reading."""
        self._threads.stop()
        for reading in self._readings:
            reading.close()
        self._ends.close()

    def _ask(self, wanted: Mapping[str, Collection[Position]]) -> dict[Place, int]:
        return {
            (cluster, *at): end
            for cluster, positions in wanted.items()
            for at, end in self._ends.ask(cluster, positions).items()
        }

    def _mark_all(self, clusters: Collection[str] | None) -> None:
        """Ask once for all ends that snapshots wait for."""
        wanted: defaultdict[str, set[Position]] = defaultdict(set)
        for reading in self._readings:
            for place in reading.hall.unmarked():
                if clusters is None or place[0] in clusters:
                    wanted[place[0]].add(place[1:])
        ends = self._ask(wanted)
        now_us = time.time_ns() // 1_000
        for reading in self._readings:
            for place in reading.hall.unmarked() & ends.keys():
                reading.hall.mark(place, ends[place], now_us)

    def _go_round(self, readings: Iterable[_Reading]) -> None:
        taken = 0
        for reading in readings:
            for desk in tuple(reading.desks):
                taken += desk.turn(0.0)
            for vpc in reading.hall.unplaced() & self._vpcs.keys():
                with reading.lock:
                    reading.hall.place(
                        vpc, self._vpcs[vpc], high=None, now_us=time.time_ns() // 1_000
                    )
            if reading.hall.orders:
                reading.give_orders()
        if not taken:
            time.sleep(self._settings.idle_s)


Readers = SharedReaders | SingleReaders


def _wait(readers: Readers, timeout_s: float, ends: Mapping[Place, int] | None) -> None:
    deadline_s = time.monotonic() + timeout_s
    wanted = readers.ends() if ends is None else ends
    while (behind := readers.behind(wanted)) > 0:
        if time.monotonic() > deadline_s:
            raise EdgeError(
                f"{behind} of {len(wanted)} partitions are not read in {timeout_s:g} s",
                retryable=True,
            )
        time.sleep(_LOOK_S)


def _places(desk: Desk) -> list[Place]:
    return [(desk.cluster.id, *at) for at in tuple(desk.slots)]


def _parts(positions: Mapping[Position, int], size: int) -> Iterator[dict[Position, int]]:
    """Cut partitions into equal parts of at most `size`."""
    items = sorted(positions.items())
    count = math.ceil(len(items) / size)
    for index in range(count):
        yield dict(items[index::count])

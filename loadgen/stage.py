"""Real clusters of a region's size on one machine, whose data folders are kept for the next run.

The rule: creating a hundred thousand partitions takes minutes, so a folder is made once and reused; a
run that is interrupted at any point leaves a folder that the next one can go on with, since every
step may be repeated: servers start on what they hold, topics that are there are left alone, hosts
that have a place keep it, and revisions that were once handed out are never handed out again. What
cannot work on this machine is said before anything is started.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Self

import msgspec
import psutil

from southbound.bench.stage import Progress, Stage
from southbound.directory import Directory
from southbound.documents.topology import load_topology
from southbound.edge.admin import apply_topics
from southbound.edge.topics import TopicSettings
from southbound.errors import ConfigError, Fault
from southbound.local.broker import BrokerSettings
from southbound.local.fleet import LocalFleet, LocalSettings
from southbound.local.layout import LayoutSettings, PoolSize
from southbound.local.record import write_whole
from southbound.partitioning.topology import Topology
from southbound.settings import DirectorySettings

HOSTS_PER_SLOT = 10
MAX_PER_SLOT = 24
"""Two probes fill a slot of ten hosts in the mean with at most 13 (docs/design.md); small pools vary more."""

_FORMAT = 1
_FILE = "stage.json"
_MAP_COUNT = Path("/proc/sys/vm/max_map_count")
_TOPIC_PARTITIONS = 50
_VPC_SLOTS = 100
_VPC_TOPICS = 4
_GIB = 1 << 30

# What a broker takes of this machine: measured at 10,000 partitions, and proportional to them.
_MAPS_PER_PARTITION = 2.1
_FILES_PER_PARTITION = 1.05
_BROKER_OWN = 2_000
_BROKER_BYTES = 300 << 20
_PARTITION_BYTES = 28 << 10

BROKER = BrokerSettings(
    ready_timeout_s=900.0,
    stop_timeout_s=180.0,
    overrides={
        # A broker on a machine that is busy with nine others is slow, not dead.
        "broker.session.timeout.ms": "30000",
        # Nothing is old enough to be compacted within a run, and looking costs each of them.
        "log.cleaner.backoff.ms": "300000",
        "log.retention.check.interval.ms": "300000",
    },
)
TOPICS = TopicSettings(call_timeout_s=300.0, ready_timeout_s=1_800.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSize:
    """How many clusters in how many zones, and the topics and partitions of each one's pools."""

    clusters: int = 10
    azs: int = 3
    topics: int = 200
    partitions: int = 50
    vpc_topics: int = _VPC_TOPICS
    vpc_partitions: int = _VPC_SLOTS // _VPC_TOPICS

    @classmethod
    def for_hosts(cls, hosts: int, clusters: int = 10, azs: int = 3) -> Self:
        """Return pools that hold ten hosts a slot: 10 clusters x 200 x 50 for a million."""
        slots = max(1, round(hosts / clusters / HOSTS_PER_SLOT))
        partitions = min(_TOPIC_PARTITIONS, slots)
        vpc_slots = max(4, min(_VPC_SLOTS, slots // 4))
        vpc_topics = _VPC_TOPICS if vpc_slots >= _VPC_SLOTS else 1
        return cls(
            clusters=clusters,
            azs=min(azs, clusters),
            topics=round(slots / partitions),
            partitions=partitions,
            vpc_topics=vpc_topics,
            vpc_partitions=vpc_slots // vpc_topics,
        )

    @property
    def slots(self) -> int:
        """Host slots of one cluster."""
        return self.topics * self.partitions

    @property
    def host_partitions(self) -> int:
        """Host partitions of all clusters."""
        return self.clusters * self.slots

    @property
    def broker_partitions(self) -> int:
        """All partitions of one broker, its own topics included."""
        return self.slots + self.vpc_topics * self.vpc_partitions + 100

    def layout(self) -> LayoutSettings:
        """Return what the topology of each cluster holds."""
        return LayoutSettings(
            host=PoolSize(
                topics=self.topics, partitions=self.partitions, max_per_slot=MAX_PER_SLOT
            ),
            vpc=PoolSize(
                topics=self.vpc_topics, partitions=self.vpc_partitions, max_per_slot=4_096
            ),
        )

    def __str__(self) -> str:
        return f"{self.clusters} clusters x {self.topics} topics x {self.partitions} partitions"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """Where a stage is kept, and how large it is. `fresh`: what the folder holds is removed first.

    `fleet`: what the hosts on it are made from, in words; another fleet's records must not lie there.
    """

    folder: Path
    size: StageSize
    fleet: str = ""
    fresh: bool = False
    broker: BrokerSettings = field(default_factory=lambda: BROKER)


class _Book(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds. `revision`: the highest that was ever handed out."""

    size: dict[str, int]
    fleet: str = ""
    revision: int = 0
    format: int = _FORMAT


class Keeper:
    """A stage's folder and what is written down in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def file(self) -> Path:
        """Where it is written."""
        return self.folder / _FILE

    def claim(self, size: StageSize, fleet: str) -> bool:
        """Write the folder down as one of this size; return whether it was one already.

        Raises `ConfigError` when it holds a stage of another size or fleet, or something unreadable.
        """
        found = self._read()
        wanted = _Book(size=_plain(size), fleet=fleet)
        if found is None:
            self._write(wanted)
            return False
        there, here = _facts(found), _facts(wanted)
        if there != here:
            faults = [
                Fault(f"{self.file}: {name}", value, f"this run wants {here.get(name)}")
                for name, value in there.items()
                if here.get(name) != value
            ]
            raise ConfigError(
                "the folder holds clusters of another size or fleet: name another with --state-dir, or "
                "--fresh to make it anew",
                faults,
            )
        return True

    def take_revisions(self, count: int) -> int:
        """Hand out `count` revisions that nobody ever had; return the first."""
        found = self._read()
        assert found is not None, "a folder is claimed before anything is published"
        self._write(msgspec.structs.replace(found, revision=found.revision + count))
        return found.revision + 1

    def forget(self) -> None:
        """Write down that the folder holds nothing."""
        self.file.unlink(missing_ok=True)

    def _read(self) -> _Book | None:
        try:
            found = msgspec.json.decode(self.file.read_bytes(), type=_Book)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            fault = Fault(str(self.file), "unreadable", str(error))
            raise ConfigError(
                "the stage's record cannot be read: --fresh makes anew", [fault]
            ) from error
        if found.format != _FORMAT:
            fault = Fault(f"{self.file}: format", found.format, f"this version reads {_FORMAT}")
            raise ConfigError(
                "the stage's record is of another version: --fresh makes anew", [fault]
            )
        return found

    def _write(self, book: _Book) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, msgspec.json.format(msgspec.json.encode(book)) + b"\n")


def _facts(book: _Book) -> dict[str, int | str]:
    return {**book.size, "fleet": book.fleet}


def _plain(size: StageSize) -> dict[str, int]:
    found: dict[str, int] = msgspec.to_builtins(size)
    return found


@contextmanager
def kept_stage(settings: StageSettings, progress: Progress) -> Iterator[Stage]:
    """Start the stage's servers, or make them; stop them at the end, and keep their data.

    SIGTERM ends the block as Ctrl-C does. Raises `ConfigError` for a folder of another size and for a
    machine whose limits are too low; `EdgeError` when a server cannot be started.
    """
    check_machine(settings.size, progress)
    keeper = Keeper(settings.folder)
    fleet = LocalFleet(
        settings.folder / "fleet",
        LocalSettings(region="million", broker=settings.broker, layout=settings.size.layout()),
    )
    if settings.fresh:
        fleet.down(wipe=True, progress=progress)
        keeper.forget()
    is_old = keeper.claim(settings.size, settings.fleet)
    progress(f"{'reusing' if is_old else 'making'} {settings.size} in {settings.folder}")
    with _terminable():
        try:
            fleet.up(settings.size.clusters, settings.size.azs, progress=progress)
            topology = load_topology(fleet.topology_file)
            _make_topics(topology, progress)
            with Directory(directory_settings(fleet.redis_url), topology) as directory:
                directory.put_topology(topology)
                yield Stage(fleet, directory)
        finally:
            with _undisturbed(progress):
                fleet.down(progress=progress)
                progress(f"data are kept in {settings.folder}; the next run goes on with them")


def directory_settings(redis_url: str) -> DirectorySettings:
    """Return how processes of the load generator speak to the directory: with a busy machine's patience."""
    return DirectorySettings(
        redis_url=redis_url, redis_timeout_s=60.0, journal_timeout_s=300.0, client_id="loadgen"
    )


def check_machine(size: StageSize, progress: Progress) -> None:
    """Raise this process' limit of open files, and make sure that a broker can hold its partitions.

    Raises `ConfigError` naming each limit that is too low; short memory is only told.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Brokers inherit it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = round(size.broker_partitions * _FILES_PER_PARTITION) + _BROKER_OWN
    maps = round(size.broker_partitions * _MAPS_PER_PARTITION) + _BROKER_OWN
    faults = []
    if hard not in (resource.RLIM_INFINITY, -1) and hard < files:
        problem = f"a broker of {size.broker_partitions} partitions opens about {files}"
        faults.append(Fault("open files (ulimit -Hn)", hard, problem))
    allowed = _maps_allowed()
    if allowed is not None and allowed < maps:
        problem = f"a broker of {size.broker_partitions} partitions maps about {maps}"
        faults.append(Fault(f"memory maps ({_MAP_COUNT})", allowed, problem))
    if faults:
        raise ConfigError("this machine's limits are too low: a smaller --scale needs less", faults)
    wanted = size.clusters * (_BROKER_BYTES + size.broker_partitions * _PARTITION_BYTES)
    available = int(psutil.virtual_memory().available)
    if available < wanted:
        progress(
            f"the brokers take about {wanted / _GIB:.1f} GiB of memory, and {available / _GIB:.1f} "
            "are available: a smaller --scale needs less"
        )


def _maps_allowed() -> int | None:
    return int(_MAP_COUNT.read_text()) if _MAP_COUNT.is_file() else None


def _make_topics(topology: Topology, progress: Progress) -> None:
    """Make the topics that are missing; tell how far their partitions are."""
    progress("making sure of all topics")
    told = 0.0

    def advance(done: int, total: int) -> None:
        nonlocal told
        if done == total or done - told >= total / 20:
            told = done
            progress(f"partitions that answer: {done} of {total}")

    applied = apply_topics(topology, TOPICS, progress=advance)
    progress(f"{len(applied.created)} topics created")


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, where signals come to this thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def take(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, take)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _undisturbed(progress: Progress) -> Iterator[None]:
    """Let no further signal cut short what the block does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def take(_number: int, _frame: FrameType | None) -> None:
        progress("stopping the servers; their data are kept")

    before = {one: signal.signal(one, take) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

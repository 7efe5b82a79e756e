"""Malformed records among good ones, in every topic that something reads.

The rule: a record that cannot be read is put aside and counted, and what follows it goes on. How many
there are in a host's slot says `--malformed N`; for a million, written down by `--hostile-record FILE`:

    make hostile MALFORMED=1000000 HOSTILE_RECORD=docs/reliability/hostile.json
"""

from __future__ import annotations

import itertools
import logging
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from southbound.directory import Directory
from southbound.edge.append import Appender
from southbound.errors import OutcomeUnknown
from southbound.janitor.service import Janitor
from southbound.local.fleet import LocalFleet
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.store import FILE, Store
from southbound.nca.worker import Worker
from southbound.partitioning.placement import Address, address_of
from southbound.partitioning.plan import Goal
from southbound.partitioning.planner import make_plan
from southbound.partitioning.topology import (
    DIRECTORY_TOPIC,
    INTEREST_TOPIC,
    MOVES_TOPIC,
    REBALANCE_TOPIC,
    STATUS_TOPIC,
    Cluster,
    Topology,
    public_topic_name,
)
from southbound.producer import Publisher
from southbound.rebalance.executor import Executor, Progress
from southbound.rebalance.mapping import snapshot_of
from southbound.resources import (
    PUBLIC_SCOPE,
    Changeset,
    Resource,
    Scope,
    host_scope,
)
from southbound.settings import (
    AgentSettings,
    JanitorSettings,
    PublisherSettings,
    RebalanceSettings,
    TrackerSettings,
    WorkerSettings,
)
from southbound.tracker.service import TrackerService
from southbound.wire.keys import encode_key, scope_prefix, scope_text
from southbound.wire.reports import Outcome, Report, ReportEntry, encode_report
from tests.live.agent_kit import Kit, eventually
from tests.live.conftest import FleetFactory
from tests.live.directory_kit import DirectoryKit, kit_of, prepared_topology
from tests.live.hostile_records import KINDS, HostileRecord, Malformed, kind_of, malformed
from tests.nca.records import of_host, value_of

_log = logging.getLogger(__name__)

_GOOD = 500
_FLUSH = 20_000
_MEMORY_MIB_MAX = 100
_STORE_MIB_MAX = 16
_ROWS_MAX = AgentSettings().quarantine_max
_HOSTS = 3

GARBAGE = (b"", b"\x02", b"\x01\xdd\xff\xff\xff\xff", b"\xff" * 50, b"[" * 2_000, b"null")


# A host's slot.


def _peak_mib(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    kib = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    return int(kib) / 1024


def _write(kit: Kit, host: str, bad: Iterator[Malformed], share: int, first: int) -> Counter[str]:
    """Write good records, so many malformed ones before each; return how many of each kind.

    The last is a good one: once that is applied, everything before it has been judged.
    """
    (where,) = kit.addresses(host_scope(host))
    written: Counter[str] = Counter()
    for number in range(first, first + _GOOD // 2):
        for one in itertools.islice(bad, share):
            kit.write(where, one.key, one.value)
            written[one.kind] += 1
            if written.total() % _FLUSH == 0:
                kit.flush()
        put = of_host(host, "meter", f"m{number}", 1, number=number)
        kit.write(where, encode_key(put.key), value_of(put, f"c-{number}"))
    kit.flush()
    return written


def _applied(log: Path) -> set[str]:
    if not log.exists():
        return set()
    lines = log.read_bytes().splitlines()
    return {key.split("\x1f")[-1] for line in lines for key, *_ in msgspec.json.decode(line)}


def _wait_for_good(log: Path, count: int, within_s: float) -> None:
    """Wait until the first good records are applied, so many."""
    wanted = {f"m{number}" for number in range(count)}
    eventually(
        lambda: _applied(log) == wanted, within_s=within_s, saying=lambda: len(_applied(log))
    )


def test_an_agent_applies_every_good_record_among_malformed_ones(
    clusters: Mapping[str, Cluster],
    unique: Callable[[str], str],
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    """In its snapshot and live; all malformed ones are counted, for their own reasons; memory stays."""
    count = pytestconfig.getoption("--malformed")
    kit = Kit(clusters, unique)
    host = kit.host("c1")
    directory, log, state = tmp_path / "directory", tmp_path / "log", tmp_path / "state"
    kit.save(directory)
    bad = malformed(scope_prefix(host_scope(host)), count)
    share, within_s = count // _GOOD, 60 + count / 500
    written = _write(kit, host, bad, share, 0)
    words = [sys.executable, "-m", "tests.live.agent_child", host, state, directory, log]
    began_s = time.monotonic()
    with subprocess.Popen(list(map(str, words)), stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for_good(log, _GOOD // 2, within_s)
            snapshot_s = time.monotonic() - began_s
            began_s = time.monotonic()
            written += _write(kit, host, bad, share, _GOOD // 2)
            _wait_for_good(log, _GOOD, within_s)
            live_s = time.monotonic() - began_s
            peak_mib = _peak_mib(process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    record = HostileRecord(
        malformed=written.total(),
        good=_GOOD,
        kinds=dict(written),
        snapshot_s=round(snapshot_s, 2),
        live_s=round(live_s, 2),
        peak_mib=round(peak_mib, 1),
        peak_mib_max=_MEMORY_MIB_MAX,
        store_mib=round((state / FILE).stat().st_size / (1 << 20), 1),
        store_mib_max=_STORE_MIB_MAX,
        rows_kept=_judged_rows(state, host, written.total()),
        rows_kept_max=_ROWS_MAX,
    )
    assert peak_mib < _MEMORY_MIB_MAX
    assert record.store_mib < _STORE_MIB_MAX
    if file := pytestconfig.getoption("--hostile-record"):
        record.write(Path(file))
    _log.info("%s", record)


def _judged_rows(state: Path, host: str, put: int) -> int:
    """Return how many malformed records are kept, each for its own reason; all of them were counted."""
    assert _quarantined(state) == put
    store = Store(state, host)
    store.open()
    rows = store.quarantined()
    store.close()
    assert len(rows) == min(put, _ROWS_MAX)
    told = Counter(kind_of(row.key, row.value, row.why) for row in rows)
    assert told.keys() == KINDS.keys()
    assert max(told.values()) - min(told.values()) <= 1
    return len(rows)


def _quarantined(state: Path) -> int:
    """Return how many records were ever put aside: the rows that are kept are fewer."""
    with sqlite3.connect(state / FILE) as connection:
        found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'quarantine'")
        return int(found.fetchone()[0])


# Every other topic.


class Site:
    """A fleet of one cluster whose every topic holds garbage, with three hosts."""

    def __init__(self, kit: DirectoryKit, unique: Callable[[str], str]) -> None:
        self.kit = kit
        self.topology = kit.topology
        (self.cluster,) = kit.topology.clusters
        self.directory: Directory = kit.directory()
        self.directory.put_topology(kit.topology)
        self.hosts: list[str] = []
        for _ in range(_HOSTS):
            self.hosts.append(self.settle(unique))
        self.doubtful = host_scope(self.hosts[2])

    def settle(self, unique: Callable[[str], str]) -> str:
        """Register a host whose slot nobody else is in, of this site or another; return it."""
        taken = {self.slot(host) for host, _ in self.directory.hosts_scan()}
        for _ in range(100):
            host = unique("host")
            self.directory.register_hosts({host: self.topology.azs[0].id})
            if self.slot(host) not in taken:
                return host
        raise AssertionError(f"no host found a slot beside {taken}")

    def append(self, topic: str, *records: tuple[bytes, bytes], partition: int = 0) -> None:
        """Append records as they are."""
        appender = Appender(self.cluster, topic, "hostile", timeout_s=30, partition=partition)
        appender.append(records)
        appender.close()

    def slot(self, host: str) -> Address:
        """Return a host's slot."""
        return address_of("host", host, self.directory.hosts([host])[host], self.topology)

    def spoil(self) -> int:
        """Put garbage into each topic; return how many records into each."""
        records = [(b"\xff%d" % number, value) for number, value in enumerate(GARBAGE)]
        doubtful = scope_text(self.doubtful).encode()
        for topic in (MOVES_TOPIC, DIRECTORY_TOPIC):
            self.append(topic, *records, (doubtful, b"\x01garbage"))
        self.append(STATUS_TOPIC, *records)
        self.append(INTEREST_TOPIC, *records)
        self.append(REBALANCE_TOPIC, *records)
        self.append(public_topic_name("elb"), *records)
        for host in self.hosts[:2]:
            slot = self.slot(host)
            prefix = scope_prefix(host_scope(host))
            bad = [(key, value) for _, key, value in malformed(prefix, 50)]
            self.append(slot.topic, *records, *bad, partition=slot.partition)
        return len(records)


@pytest.fixture(scope="module")
def own(module_fleet_factory: FleetFactory) -> tuple[LocalFleet, Topology]:
    """Return a fleet of one cluster, which is this file's to spoil, and its topology."""
    fleet = module_fleet_factory(clusters=1, azs=1)
    return fleet, prepared_topology(fleet)


@pytest.fixture
def site(own: tuple[LocalFleet, Topology], unique: Callable[[str], str]) -> Iterator[Site]:
    """Return a site on the spoiled fleet."""
    with kit_of(*own, 0) as kit:
        yield Site(kit, unique)


def _meter(scope: Scope, revision: int) -> Changeset:
    return Changeset(f"m-{revision}", (Resource(scope, "meter", "m", revision, {"at": revision}),))


def test_publishers_and_the_directory_pass_over_garbage(
    site: Site, unique: Callable[[str], str]
) -> None:
    """Hosts are registered and found, changes accepted; only what garbage speaks of is in doubt."""
    count = site.spoil()
    late = unique("late")
    site.directory.register_hosts({late: site.topology.azs[0].id})
    other = site.kit.directory()
    assert set(other.hosts([late, *site.hosts])) == {late, *site.hosts}
    entries = [one for one in other.verify() if one.kind == "entry"]
    assert len(entries) >= count + 1
    publisher = Publisher(site.directory, PublisherSettings())
    publisher.start()
    try:
        for host in (*site.hosts[:2], late):
            publisher.publish(_meter(host_scope(host), 1)).accepted.result(60)
        with pytest.raises(OutcomeUnknown, match="cannot be read"):
            publisher.publish(_meter(site.doubtful, 1)).accepted.result(60)
        assert publisher.quarantined >= count + 1
    finally:
        publisher.close()


def test_the_tracker_passes_over_garbage(site: Site, tmp_path: Path) -> None:
    """Both who follow the status topic count it, and hear what is told behind it."""
    count = site.spoil()
    service = TrackerService(lambda: site.topology, tmp_path, TrackerSettings())
    service.start()
    try:
        key = encode_key(_meter(host_scope("h"), 1).resources[0].key)
        told = Report("h", 1, (ReportEntry("c", key, 7, Outcome.APPLIED, 1),))
        site.append(STATUS_TOPIC, (b"h", encode_report(told)))
        reader = service.store.reader()
        eventually(lambda: bool(reader.standings("h")), saying=lambda: service.counters)
        reader.close()
        eventually(lambda: service.counters.quarantined >= 2 * count)
    finally:
        service.bells.close()
        service.close()


def test_a_worker_passes_over_garbage(site: Site) -> None:
    """What is published behind it is applied."""
    count = site.spoil()
    applier = MemoryApplier()
    worker = Worker(
        kind="elb",
        worker_id="w",
        applier=applier,
        topology=site.topology,
        settings=WorkerSettings(),
    )
    worker.start()
    publisher = Publisher(site.directory, PublisherSettings())
    publisher.start()
    try:
        one = Resource(PUBLIC_SCOPE, "elb", "e", 1, {"name": "e"})
        publisher.publish(Changeset("e-1", (one,))).accepted.result(60)
        eventually(lambda: one.key in applier.resources, saying=lambda: worker.counters)
        assert worker.counters.records_quarantined >= count
    finally:
        publisher.close()
        worker.stop()


def test_a_janitor_sweeps_everything_in_spite_of_garbage(site: Site, tmp_path: Path) -> None:
    """Journals, `sb.moves` and slots: no trouble, and each key that it leaves alone is counted."""
    count = site.spoil()
    janitor = Janitor(JanitorSettings(), site.kit.settings(), tmp_path / "books")
    janitor.run_once()
    assert janitor.stand.troubles == ()
    assert janitor.stand.odd.unreadable > 0
    assert janitor.tally.quarantined >= 2 * count


def test_an_executor_passes_over_garbage(site: Site, unique: Callable[[str], str]) -> None:
    """A plan begun behind garbage is carried out; one host's garbage holds up its own move alone."""
    site.spoil()
    clean = site.settle(unique)
    with Executor(site.directory, RebalanceSettings(timeout_s=30)) as executor:
        before = site.slot(clean)
        progress = _drained(site, executor, before)
        assert progress.failed == {}
        assert site.slot(clean) != before
        spoiled = site.slot(site.hosts[0])
        progress = _drained(site, executor, spoiled)
        (why,) = progress.failed.values()
        assert "publish a newer revision" in why
        assert len(executor.plans()) == 2


def _drained(site: Site, executor: Executor, slot: Address) -> Progress:
    """Plan to drain a slot, and carry it out."""
    what = f"{slot.topic.split('.')[1]}/{int(slot.topic.rpartition('.')[2])}/{slot.partition}"
    plan = make_plan(snapshot_of(site.directory), Goal(kind="drain-slot", what=(what,)))
    executor.begin(plan)
    return executor.run(plan.id)

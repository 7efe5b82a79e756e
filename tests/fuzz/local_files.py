"""Files of this machine that a process of ours reads at its start, and what its environment says.

The rule: somebody may have edited them, a disk may have damaged them, another program may have written
them. What cannot be used is named, with the file; nothing is guessed, and nothing is read without end.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from loadgen.capacity.units import read_units, shipped
from loadgen.histories.events import Accepted
from loadgen.histories.files import History, HistoryWriter
from loadgen.report.documents import read_documents
from loadgen.stage import Keeper
from southbound.cli.session import Session
from southbound.edge.redis import RedisLink
from southbound.errors import SouthboundError, WireError
from southbound.failpoints import Armed
from southbound.local.daemon import Daemon
from southbound.local.fleet import LocalFleet
from southbound.local.layout import LayoutSettings, document, extended
from southbound.local.record import BrokerRecord, FleetRecord, read_record
from southbound.nca.appliers.tree import decode_revision, read_tree
from southbound.nca.process import ProcessSettings, _applier, _check_redis, address_of
from southbound.tracker.client import TrackerClient


def _first_error(*reads: Callable[[], object]) -> None:
    """Try all; raise the first error if none of them took what there was."""
    errors = []
    for read in reads:
        try:
            read()
        except SouthboundError as error:
            errors.append(error)
    if len(errors) == len(reads):
        raise errors[0]


FLEET = FleetRecord(
    region="r",
    redis_port=6379,
    brokers=(
        BrokerRecord(name="c1", az="az-a", port=1, controller_port=2, kafka_id="k" * 22),
    ),
)  # fmt: skip


def fleet(folder: Path) -> Callable[[bytes], None]:
    """Return a target: bytes as each file of a local fleet's folder."""
    folder.mkdir(exist_ok=True)
    session = Session(local_dir=folder)
    manager = LocalFleet(folder)

    def read(data: bytes) -> None:
        for name in ("fleet.json", "topology.yaml", "tracker.url", "pid"):
            (folder / name).write_bytes(data)

        def topology() -> None:
            found = manager._read_topology()
            assert found is not None
            extended(found, document(FLEET, LayoutSettings()))

        def record() -> None:
            found = read_record(folder / "fleet.json")
            assert found is not None
            document(found, LayoutSettings())
            session.redis_url()

        _first_error(record, topology, session.tracker_client, Daemon("d", folder).pid)

    return read


def fleets() -> Iterable[bytes]:
    """Return files as a fleet writes them."""
    return [
        msgspec.json.encode(FLEET),
        msgspec.yaml.encode(document(FLEET, LayoutSettings())),
        b"http://127.0.0.1:9480\n",
        b"1 boot:1\n",
    ]


def tree(folder: Path) -> Callable[[bytes], None]:
    """Return a target: bytes as a document of an applier's tree."""
    version = folder / ".versions" / "1"
    (version / "port").mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / "host").symlink_to(Path(".versions") / "1")

    def read(data: bytes) -> None:
        (version / "port" / "p.json").write_bytes(data)
        assert decode_revision(data) is not None
        assert read_tree(folder)

    return read


def trees() -> Iterable[bytes]:
    """Return a document as the applier writes it."""
    return [
        b'{"scope":"host:h","kind":"port","id":"p","revision":3,"changeset":"c","spec":{"a":[1]}}'
    ]


def measurements(folder: Path) -> Callable[[bytes], None]:
    """Return a target: bytes as a benchmark's document, a stage's record, a history."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    def found_documents() -> None:
        found = read_documents(folder)
        if found.refused:
            raise WireError(str(found.refused[0]))

    def read(data: bytes) -> None:
        (folder / "units.json").write_bytes(data)
        keeper = Keeper(folder / "stage")
        keeper.folder.mkdir(exist_ok=True)
        keeper.file.write_bytes(data)
        history = folder / "history"
        history.write_bytes(data)
        _first_error(
            lambda: read_units(folder / "units.json"),
            found_documents,
            keeper._read,
            lambda: _whole(History(history)),
        )

    return read


def _whole(history: History) -> None:
    """Read a history; one that was not closed, and holds nothing else, is none."""
    count = sum(1 for _ in history)
    if count < 2:
        raise WireError("no events")


def measured(folder: Path) -> Iterable[bytes]:
    """Return files of each sort."""
    writer = HistoryWriter(folder / "good-history")
    writer.open()
    for number in range(3):
        writer.add(Accepted(f"c{number}", number))
    writer.close()
    rows = [
        {"metric": name, "value": value, "unit": "u"} for name, value in shipped().costs.items()
    ]
    return [
        msgspec.json.encode({"name": "units", "rows": rows, "at": "2026-01-01"}),
        b'{"size": {"clusters": 1}, "fleet": "f", "revision": 3, "format": 1}',
        writer.path.read_bytes(),
    ]


def words(folder: Path) -> Callable[[bytes], None]:
    """Return a target: bytes as a variable or an option of a process, wherever one is parsed."""

    def applier(**given: Any) -> None:
        _applier(ProcessSettings(redis_url="", files=folder / "files", **given))

    def read(data: bytes) -> None:
        # As the environment and the shell hand words over: no noughts, any other byte.
        text = data.replace(b"\0", b"")[:_WORD_BYTES_MAX].decode(errors="surrogateescape")
        _first_error(
            lambda: Armed.of(text),
            lambda: address_of(text),
            lambda: TrackerClient(text),
            lambda: _check_redis(text),
            lambda: RedisLink(text, timeout_s=1, client_name="fuzz")._open(),
            lambda: applier(command=text),
        )

    return read


_WORD_BYTES_MAX = 16_384
"""A kernel takes eight times that; a shell's words are split character by character."""

WORDS = (
    b"agent.store.before=kill@2;tracker.store.after=delay:0.5",
    b"agent.store.before=error@2+",
    b"127.0.0.1:9464",
    b"[::1]:9464",
    b"http://127.0.0.1:9480",
    b"redis://:password@127.0.0.1:6379/0?socket_timeout=5",
    b"unix:///run/redis.sock?db=2",
    b"rediss://h:1",
    b"/bin/true --flag 'two words'",
)

"""Lists of hosts as people and inventories write them: words, CSV, YAML.

The rule: every fault is named with its place, and a host that stands twice in two zones is one.

    CSV:   host,az        (a first line that says `host,az` is a heading; az may be left to --az)
    YAML:  {host: az, ...}  or  [{host: ..., az: ...}, ...]  or  [host, ...]
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from southbound.errors import ConfigError, Fault
from southbound.wire.keys import id_problem

_YAML = (".yaml", ".yml", ".json")
_FAULTS_MAX = 50
_BYTES_MAX = 512 << 20


class Entry(NamedTuple):
    """One host as it was written; `az` is empty where none stands beside it."""

    place: str
    host: str
    az: str


def read_hosts(names: Sequence[str], az: str | None, file: Path | None) -> dict[str, str]:
    """Return host to AZ. Raises `ConfigError` with every fault and its place."""
    entries = [Entry(f"host {number}", name, "") for number, name in enumerate(names, 1)]
    if file is not None:
        entries += _entries(file)
    if not entries:
        fault = Fault("hosts", "", "give some, or --file")
        raise ConfigError("no hosts are named", [fault])
    return _judged(entries, az or "")


def _judged(entries: Iterable[Entry], az: str) -> dict[str, str]:
    hosts: dict[str, str] = {}
    faults: list[Fault] = []
    for entry in entries:
        zone = entry.az or az
        problem = id_problem(entry.host)
        if problem is not None:
            faults.append(Fault(entry.place, entry.host, problem))
        elif not zone:
            faults.append(Fault(entry.place, entry.host, "has no AZ: give --az"))
        elif hosts.setdefault(entry.host, zone) != zone:
            faults.append(Fault(entry.place, zone, f"host {entry.host} is in {hosts[entry.host]}"))
    if faults:
        raise ConfigError("the hosts cannot be registered", faults[:_FAULTS_MAX])
    return hosts


def _entries(file: Path) -> list[Entry]:
    data = _bytes(file)
    if file.suffix.lower() in _YAML:
        return list(_yaml_entries(data, str(file)))
    try:
        return list(_csv_entries(data.decode("utf-8-sig"), str(file)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            "the hosts cannot be read", [Fault(str(file), data[:40], str(error))]
        ) from error


def _bytes(file: Path) -> bytes:
    from southbound.documents.text import read_bounded

    try:
        if str(file) == "-":
            data = read_bounded(sys.stdin.buffer, _BYTES_MAX)
        else:
            with file.open("rb") as opened:
                data = read_bounded(opened, _BYTES_MAX)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError("the hosts cannot be read", [Fault(str(file), None, reason)]) from error
    if len(data) > _BYTES_MAX:
        fault = Fault(
            str(file), f"{len(data)} bytes or more", f"at most {_BYTES_MAX} bytes: split it"
        )
        raise ConfigError("the hosts cannot be read", [fault])
    return data


def _csv_entries(text: str, name: str) -> Iterator[Entry]:
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        cells = [cell.strip() for cell in row]
        heading = number == 1 and cells[:1] == ["host"]
        if not any(cells) or cells[0].startswith("#") or heading:
            continue
        place = f"{name}, line {number}"
        if len(cells) > 2:
            fault = Fault(place, ",".join(cells), "must be host,az")
            raise ConfigError("the hosts cannot be read", [fault])
        yield Entry(place, cells[0], cells[1] if len(cells) > 1 else "")


def _yaml_entries(data: bytes, name: str) -> Iterator[Entry]:
    from southbound.documents.text import parse

    documents = parse(data, name)
    for number, document in enumerate(documents, 1):
        value = document.value
        place = f"{name}, entry {number}"
        if isinstance(value, str):
            yield Entry(place, value, "")
        elif isinstance(value, dict) and "host" in value and set(value) <= {"host", "az"}:
            yield Entry(place, str(value["host"]), str(value.get("az") or ""))
        elif isinstance(value, dict):
            for host, az in value.items():
                yield Entry(f"{name}, {host}", str(host), str(az or ""))
        else:
            fault = Fault(place, value, "must be a host, {host, az}, or a map of hosts to AZs")
            raise ConfigError("the hosts cannot be read", [fault])

"""What a local fleet consists of: `fleet.json` in its state folder.

The rule: it is written whole, and before anything that it names is started. It holds only what is
chosen once (names, zones, ports, cluster ids); which process runs is told by each server's own
folder.
"""

from __future__ import annotations

import base64
import os
import string
import uuid
from pathlib import Path

import msgspec

from southbound.doubles import check_doubles
from southbound.errors import ConfigError, Fault, WireError
from southbound.local.ports import free_ports

REDIS = "redis"
_FORMAT = 1


class BrokerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One Kafka cluster of one node; `kafka_id` is the cluster id that its broker will tell."""

    name: str
    az: str
    port: int
    controller_port: int
    kafka_id: str


class FleetRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole fleet; `format` tells a later version how to read it."""

    region: str
    redis_port: int
    brokers: tuple[BrokerRecord, ...]
    format: int = _FORMAT

    @property
    def azs(self) -> tuple[str, ...]:
        """Availability zones, in the order of their first cluster."""
        return tuple(dict.fromkeys(broker.az for broker in self.brokers))


def read_record(file: Path) -> FleetRecord | None:
    """Return what `fleet.json` says, None when there is none; `ConfigError` when it is not one."""
    try:
        data = file.read_bytes()
        record = msgspec.json.decode(data, type=FleetRecord)
        check_doubles(data)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, ValueError, RecursionError, WireError) as error:
        fault = Fault(str(file), "unreadable", str(error))
        raise ConfigError("the fleet's record cannot be read", [fault]) from error
    if record.format != _FORMAT:
        fault = Fault(f"{file}: format", record.format, f"this version reads {_FORMAT}")
        raise ConfigError("the fleet's record is of another version", [fault])
    return record


def write_whole(file: Path, content: bytes) -> None:
    """Replace a file so that a reader, or a crash, sees the old content or the new one."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    with fresh.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(file)


def write_record(file: Path, record: FleetRecord) -> None:
    """Write `fleet.json`."""
    write_whole(file, msgspec.json.format(msgspec.json.encode(record)) + b"\n")


def planned(known: FleetRecord | None, clusters: int, azs: int | None, region: str) -> FleetRecord:
    """Return the record of a fleet of so many clusters, which keeps all that is known already.

    Clusters go round the zones: c1 to az-a, c2 to az-b, and so on. Raises `ConfigError` when the
    numbers make no fleet, or would shrink or reshape the known one.
    """
    zones = _zone_count(known, clusters, azs)
    old = known.brokers if known else ()
    count_new = clusters - len(old)
    ports = free_ports(2 * count_new + (known is None))
    new = tuple(
        BrokerRecord(
            name=f"c{index + 1}",
            az=f"az-{string.ascii_lowercase[index % zones]}",
            port=ports.pop(),
            controller_port=ports.pop(),
            kafka_id=new_kafka_id(),
        )
        for index in range(len(old), clusters)
    )
    if known is None:
        return FleetRecord(region=region, redis_port=ports.pop(), brokers=new)
    return msgspec.structs.replace(known, brokers=(*old, *new))


def _zone_count(known: FleetRecord | None, clusters: int, azs: int | None) -> int:
    faults = []
    if clusters < 1:
        faults.append(Fault("clusters", clusters, "must be at least 1"))
    if azs is not None and not 1 <= azs <= min(max(clusters, 1), len(string.ascii_lowercase)):
        faults.append(Fault("azs", azs, "must be at least 1, at most one per cluster, at most 26"))
    if known and clusters < len(known.brokers):
        faults.append(
            Fault("clusters", clusters, f"this fleet has {len(known.brokers)}: it only grows")
        )
    if known and azs is not None and azs != len(known.azs):
        faults.append(Fault("azs", azs, f"this fleet has {len(known.azs)}, for good"))
    if faults:
        raise ConfigError("not a fleet that can be started", faults)
    return azs or (len(known.azs) if known else min(2, clusters))


def new_kafka_id() -> str:
    """Return a new cluster id as Kafka writes it: 16 bytes, URL-safe base64, no leading dash."""
    while True:
        written = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not written.startswith("-"):
            return written

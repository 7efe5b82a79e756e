"""The topology of a local fleet: one host pool and one VPC pool in each cluster.

The rule: small enough to be made in seconds and shaped like a real one (several topics, several
partitions, two zones). A document that exists is never overwritten: a fleet that grows adds to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from southbound.local.ports import LOOPBACK
from southbound.local.record import FleetRecord

Document = dict[str, Any]
_SECTIONS = {"azs": "id", "clusters": "id", "pools": "id", "public": "kind"}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BYTES_MAX = 1 << 20
_DEPTH_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSize:
    """Size of the pools of one class, the same in each cluster."""

    topics: int
    partitions: int
    max_per_slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutSettings:
    """What the topology of a new cluster holds."""

    host: PoolSize = PoolSize(topics=4, partitions=8, max_per_slot=64)
    vpc: PoolSize = PoolSize(topics=2, partitions=4, max_per_slot=1024)
    public_kinds: tuple[str, ...] = ("elb", "nat_gateway", "eip")
    public_partitions: int = 8


def document(fleet: FleetRecord, settings: LayoutSettings) -> Document:
    """Return the topology document of a fleet, plain data ready for YAML."""
    first_of = {broker.az: broker.name for broker in reversed(fleet.brokers)}
    names = [broker.name for broker in fleet.brokers]
    return {
        "region": fleet.region,
        "azs": [{"id": az, "journal": first_of[az]} for az in fleet.azs],
        "clusters": [
            {
                "id": broker.name,
                "az": broker.az,
                "bootstrap": [f"{LOOPBACK}:{broker.port}"],
                "kafka_id": broker.kafka_id,
            }
            for broker in fleet.brokers
        ],
        "pools": [
            _pool(name, cls, size)
            for name in names
            for cls, size in (("host", settings.host), ("vpc", settings.vpc))
        ],
        "public": [
            {
                "kind": kind,
                "cluster": names[index % len(names)],
                "partitions": settings.public_partitions,
            }
            for index, kind in enumerate(settings.public_kinds)
        ],
    }


def _pool(cluster: str, cls: str, size: PoolSize) -> Document:
    return {
        "id": f"{cluster}-{cls}",
        "cluster": cluster,
        "class": cls,
        "topics": size.topics,
        "partitions": size.partitions,
        "max_per_slot": size.max_per_slot,
    }


def read_document(data: bytes) -> Document:
    """Read a topology document as far as `extended` needs it; its meaning whoever applies it judges.

    Raises `ValueError` for what is none: its size, its nesting and what it unfolds to are bounded.
    """
    if len(data) > _BYTES_MAX:
        raise ValueError(f"is larger than {_BYTES_MAX} bytes")
    text = data.decode()
    try:
        _check_shape(text)
        found = yaml.load(text, Loader=_LOADER)  # noqa: S506  # a safe loader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(found, dict):
        raise ValueError("is not a topology")  # noqa: TRY004  # one error for all that it may be
    for section, key in _SECTIONS.items():
        entries = found.get(section) or []
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get(key), str) for entry in entries
        ):
            raise ValueError(f"{section}: must be a list of maps, each with its {key}")
    return found


def _check_shape(text: str) -> None:
    """Refuse what costs a reader more than its bytes: deep nesting, and merge keys, which multiply."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH_MAX:
            raise ValueError(f"is nested deeper than {_DEPTH_MAX} levels")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise ValueError("merge keys are not supported: write the fields out")


def extended(existing: Mapping[str, Any], wanted: Document) -> Document:
    """Return the existing document with those entries of `wanted` added whose ids it lacks."""
    grown: Document = dict(existing)
    for section, key in _SECTIONS.items():
        entries = list(existing.get(section) or ())
        known = {entry.get(key) for entry in entries if isinstance(entry, Mapping)}
        grown[section] = [
            *entries,
            *(entry for entry in wanted[section] if entry[key] not in known),
        ]
    return grown

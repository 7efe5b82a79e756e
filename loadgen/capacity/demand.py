"""What a fleet asks for, what its owner aims at, and what a machine can give. Pure.

The rule: whatever a plan depends on is a number here with a name, a unit and a reason for its
default; formulas hold no number of their own that somebody might want to change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from southbound.errors import ConfigError, Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the fleet is.

    `ports_per_host`: 20 VMs with a port each. `resource_bytes`: an encoded spec of the mean resource.
    `changes_per_s`: of hosts, in the whole fleet; 500 are 10,000 launches a minute of three resources
    each. `vpc_changes_per_s`: of VPCs. `ports_per_vpc` and `vpcs_per_host`: means; together they say
    on how many hosts a VPC is. `vpc_resources`: what stands in a VPC besides ports: subnets, groups,
    rules, neighbours. `online`: share of hosts whose agent is on. `publishers`: processes.
    """

    hosts: float = 1_000_000
    azs: float = 3
    ports_per_host: float = 20
    resource_bytes: float = 400
    changes_per_s: float = 500
    vpc_changes_per_s: float = 10
    ports_per_vpc: float = 200
    vpcs_per_host: float = 4
    vpc_resources: float = 250
    online: float = 1
    publishers: float = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """How pools and clusters are to be cut.

    `hosts_per_slot`: an agent reads this many hosts' records for each of its own. `topics_max` and
    `partitions`: of a pool of hosts. `replicas_per_broker`: partitions that one broker holds, 10,000
    because that is what was measured. `segments`: of a slot's log: the active one, and what was
    compacted before it. `roll_s`, `segment_bytes`: a segment is closed after that long (Kafka's
    default, `segment.ms`) or at that size (deploy/kafka), and only closed ones are compacted. `fetch_wait_s`: an idle agent's long poll.
    `cpu_share`: how much of a broker's cores may be taken in the mean. `restart_s`: how long a fleet
    that lost its state may take.
    """

    hosts_per_slot: float = 10
    topics_max: float = 200
    partitions: float = 50
    vpcs_per_slot: float = 20
    replicas_per_broker: float = 10_000
    replication: float = 3
    segments: float = 2
    roll_s: float = 7 * 86_400
    segment_bytes: float = 128 * 2**20
    fetch_wait_s: float = 10
    cpu_share: float = 0.5
    restart_s: float = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What one broker's machine, and Redis', can give: deploy/kafka/README.md, where it says.

    `max_per_slot`: hosts that the directory puts into one slot at most. `connects_per_s`: new
    connections that a broker takes. `maps`: `vm.max_map_count`; `files`: `nofile`.
    """

    broker_cores: float = 8
    broker_memory_bytes: float = 64 * 2**30
    broker_disk_bytes: float = 2 * 10**12
    broker_network_bytes_per_s: float = 10**10 / 8
    files: float = 1_000_000
    maps: float = 1_000_000
    connects_per_s: float = 2_000
    redis_memory_bytes: float = 8 * 2**30
    max_per_slot: float = 20


Inputs = Demand | Aims | Ceilings


def named(*inputs: Inputs) -> dict[str, float]:
    """Return every number by its name. Raises `ConfigError` naming each that cannot be."""
    values = {name: value for one in inputs for name, value in _values(one)}
    faults = [
        Fault(name, value, f"must be {words}")
        for name, value in values.items()
        if (words := _missed(name, value))
    ]
    faults += [
        Fault(name, values[name], "is a share, at most 1")
        for name in ("online", "cpu_share")
        if values.get(name, 0) > 1
    ]
    if faults:
        raise ConfigError("no plan can be made from these numbers", faults)
    return values


def _missed(name: str, value: float) -> str:
    """Say what a number would have to be; nothing where it is that. None is a number (nan) or endless."""
    if name in _WHOLE and not value >= 1:
        return "at least 1"
    if name not in _MAY_BE_NONE and not value >= _LEAST:
        return f"above 0, at least {_LEAST:g}"
    if not value >= 0:
        return "at least 0"
    return "" if value <= _MOST else f"at most {_MOST:g}"


_LEAST, _MOST = 1e-6, 1e15
"""What lies beyond is a slip of the hand, and arithmetic with it comes to nothing."""
_WHOLE = {"hosts", "azs", "partitions", "topics_max", "replication", "publishers", "segments"}
_MAY_BE_NONE = {"changes_per_s", "vpc_changes_per_s", "vpcs_per_host", "vpc_resources"}


def _values(inputs: Inputs) -> Iterator[tuple[str, float]]:
    for field in fields(inputs):
        yield field.name, getattr(inputs, field.name)

"""The unit costs: what one partition, one fetch, one host costs. Pure.

The rule: a unit cost is a name, a unit and how it is measured; its value is whatever a run of
`southbound bench units` printed, and stands in no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Cost(NamedTuple):
    """One unit cost: in what it is counted, and how it is measured."""

    unit: str
    how: str


COSTS: Final[Mapping[str, Cost]] = {
    "broker_base_bytes": Cost("bytes", "resident memory of a broker, less its partitions'"),
    "broker_base_files": Cost("files", "open files of a broker, less its partitions'"),
    "broker_base_maps": Cost("maps", "memory maps of a broker, less its partitions'"),
    "broker_idle_cores": Cost("cores", "CPU of a broker without clients, less its partitions'"),
    "partition_bytes": Cost("bytes", "resident memory more, for each partition made"),
    "partition_files": Cost("files", "open files more, for each partition made"),
    "partition_maps": Cost("maps", "memory maps more, for each partition filled"),
    "partition_disk_bytes": Cost("bytes", "disk more, for each empty partition made"),
    "partition_idle_us": Cost("us/s", "CPU more while idle, for each partition made"),
    "connection_bytes": Cost("bytes", "resident memory more, for each connection that has spoken"),
    "fetch_us": Cost("us", "CPU of the broker for an idle long poll of one partition"),
    "change_broker_us": Cost("us", "CPU of the broker for a single change and its fence"),
    "change_publisher_us": Cost("us", "CPU of the publisher for a single change until accepted"),
    "bulk_broker_us": Cost("us", "CPU of the broker for a change of `publish_many`"),
    "bulk_publisher_us": Cost("us", "CPU of the publisher for a change of `publish_many`"),
    "record_overhead_bytes": Cost("bytes", "what a record takes in the log beside its spec"),
    "register_us": Cost("us", "time of registering a host, journaled, one zone"),
    "redis_base_bytes": Cost("bytes", "memory of Redis without hosts and VPCs"),
    "redis_host_bytes": Cost("bytes", "memory of Redis more, for each host"),
    "redis_vpc_bytes": Cost("bytes", "memory of Redis more, for each VPC with one replica"),
    "agent_connections": Cost("connections", "connections of an agent to a cluster of one broker"),
    "restart_broker_us": Cost("us", "CPU of the broker for an agent that starts without state"),
    "restart_redis_us": Cost(
        "us", "CPU of Redis for a directory that is opened and asked for a host and a VPC"
    ),
    "restart_agent_us": Cost("us", "CPU of an agent that starts without state"),
    "system_partitions": Cost("partitions", "partitions of a cluster that belong to no pool"),
}

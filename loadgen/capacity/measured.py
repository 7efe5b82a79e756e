"""From a survey to unit costs. Pure.

The rule: a unit cost is a difference between two phases over how much more there was; a difference
that noise made negative counts as nothing.
"""

from __future__ import annotations

from loadgen.capacity.survey import Survey

_US = 1e6


def costs_of(seen: Survey) -> dict[str, float]:
    """Return every unit cost."""
    more = seen.partitions
    bytes_each = max(0.0, (seen.empty.memory - seen.base.memory) / more)
    files_each = (seen.empty.files - seen.base.files) / more
    maps_each = (seen.filled.maps - seen.base.maps) / more
    idle_each = max(0.0, (seen.idle - seen.idle_base) / more)
    fetching_s = max(0.0, seen.fetches.broker_s - seen.idle * seen.fetches.seconds)
    restarting_s = max(0.0, seen.restart.spent.broker_s - seen.idle * seen.restart.spent.seconds)
    singly_s = max(0.0, seen.single.broker_s - seen.idle * seen.single.seconds)
    asking_s = max(0.0, seen.lookups.redis_s - seen.redis_idle * seen.lookups.seconds)
    empty, hosts, vpcs = seen.redis
    agents, own = seen.restart.spent.things, seen.system_partitions
    return {
        "broker_base_bytes": seen.end.memory - more * bytes_each - own * bytes_each,
        "broker_base_files": seen.base.files - own * files_each,
        "broker_base_maps": seen.base.maps - own * maps_each,
        "broker_idle_cores": max(0.0, seen.idle - idle_each * (more + own)),
        "partition_bytes": bytes_each,
        "partition_files": files_each,
        "partition_maps": maps_each,
        "partition_disk_bytes": max(0.0, seen.empty.disk - seen.base.disk) / more,
        "partition_idle_us": idle_each * _US,
        "connection_bytes": seen.connection_bytes,
        "fetch_us": fetching_s / seen.fetches.things * _US,
        "change_broker_us": singly_s / seen.single.things * _US,
        "change_publisher_us": seen.single.here_s / seen.single.things * _US,
        "bulk_broker_us": seen.bulk.broker_s / seen.bulk.things * _US,
        "bulk_publisher_us": seen.bulk.here_s / seen.bulk.things * _US,
        "record_overhead_bytes": seen.log_bytes - seen.spec_bytes,
        "register_us": seen.register_s / seen.size.hosts * _US,
        "redis_base_bytes": float(empty.memory),
        "redis_host_bytes": max(0.0, hosts.memory - empty.memory) / seen.size.hosts,
        "redis_vpc_bytes": max(0.0, vpcs.memory - hosts.memory) / seen.size.vpcs,
        "agent_connections": seen.restart.connections / agents,
        "restart_broker_us": restarting_s / agents * _US,
        "restart_redis_us": asking_s / seen.lookups.things * _US,
        "restart_agent_us": seen.restart.agents_s / agents * _US,
        "system_partitions": float(own),
    }

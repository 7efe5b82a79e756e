"""From a fleet to what its clusters must hold and do: every number with its formula. Pure.

The rule: a formula stands here once, as the text that `--explain` shows and that is computed
(`expression.py`). It may use the numbers of `demand.py`, unit costs (`costs.py`), and what stands
above it. Numbers are of one cluster unless their meaning says otherwise, and means over the fleet:
hosts are spread evenly over clusters, and their VPCs over hosts as if drawn at random.

What nobody measured is said: a follower's copy is taken to cost its broker what the leader's did, and
handing a record to a reader what an idle fetch costs (the record ends a long poll and brings the
next). TLS is not in the unit costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from loadgen.capacity.costs import COSTS
from loadgen.capacity.expression import Expression


class Quantity(NamedTuple):
    """One number of a plan. `costs`: the unit costs that its formula names."""

    name: str
    value: float
    unit: str
    meaning: str
    formula: str
    costs: tuple[str, ...]


class Formula(NamedTuple):
    """How one number is computed. `unit`: what it is counted in."""

    name: str
    unit: str
    expression: Expression
    meaning: str


def _formula(name: str, unit: str, text: str, meaning: str) -> Formula:
    return Formula(name, unit, Expression(text), meaning)


CHOSEN = ("clusters", "host_topics", "vpc_topics")
"""What is laid down once: pools are never resized. A fleet that outgrows a plan keeps these."""

FORMULAS: tuple[Formula, ...] = (
    # The shape.
    _formula(
        "clusters",
        "clusters",
        "max(azs, ceil(hosts / (topics_max * partitions * hosts_per_slot)))",
        "Kafka clusters of the fleet",
    ),
    _formula(
        "clusters_per_az", "clusters", "clusters / azs", "clusters of a zone, where they go round"
    ),
    _formula(
        "host_topics",
        "topics",
        "max(1, min(topics_max, ceil(hosts / clusters / hosts_per_slot / partitions)))",
        "topics of the host pool",
    ),
    _formula("host_slots", "slots", "host_topics * partitions", "slots of the host pool"),
    _formula(
        "hosts_in_slot",
        "hosts",
        "hosts / clusters / host_slots",
        "hosts of a slot: records that an agent reads for each of its own",
    ),
    _formula(
        "hosts_in_slot_even_azs",
        "hosts",
        "hosts / azs / (floor(clusters / azs) * host_slots)",
        "the same in the zone with the fewest clusters, where all zones have as many hosts",
    ),
    _formula(
        "fullest_slot",
        "hosts",
        "hosts_in_slot + log(log(max(16, host_slots))) / log(2)",
        "hosts of the fullest slot, the emptier of two probes taken (Azar, Broder, Karlin, Upfal)",
    ),
    _formula("vpcs", "VPCs", "hosts * ports_per_host / ports_per_vpc", "VPCs of the fleet"),
    _formula(
        "hosts_of_vpc",
        "hosts",
        "min(hosts, vpcs_per_host * ports_per_vpc / ports_per_host)",
        "hosts that a VPC is on",
    ),
    _formula(
        "replicas_of_vpc",
        "clusters",
        "clusters * (1 - (1 - 1 / clusters) ** hosts_of_vpc)",
        "clusters that hold a replica of a VPC: those with a host of it",
    ),
    _formula(
        "vpcs_in_cluster", "VPCs", "vpcs * replicas_of_vpc / clusters", "VPCs with a replica here"
    ),
    _formula(
        "vpc_topics",
        "topics",
        "max(1, ceil(vpcs_in_cluster / vpcs_per_slot / partitions))",
        "topics of the VPC pool",
    ),
    _formula("vpc_slots", "slots", "vpc_topics * partitions", "slots of the VPC pool"),
    _formula("vpcs_in_slot", "VPCs", "vpcs_in_cluster / vpc_slots", "VPCs of a slot"),
    _formula(
        "pools", "pools", "2 * clusters", "pools of the fleet: one of hosts, one of VPCs a cluster"
    ),
    _formula(
        "partitions_in_cluster",
        "partitions",
        "host_slots + vpc_slots + system_partitions",
        "partitions, leaders alone",
    ),
    _formula(
        "replicas_on_broker",
        "partitions",
        "partitions_in_cluster * replication / brokers",
        "partitions that a broker holds, leading or following",
    ),
    _formula("brokers_in_fleet", "brokers", "brokers * clusters", "brokers of the fleet"),
    # What agents do to it.
    _formula("agents", "agents", "hosts / clusters * online", "agents"),
    _formula(
        "brokers_read",
        "brokers",
        "brokers * (1 - (1 - 1 / brokers) ** (1 + vpcs_per_host))",
        "brokers that an agent's slots are on",
    ),
    _formula(
        "connections_of_agents",
        "connections",
        "agents * (agent_connections + brokers_read - 1)",
        "connections of agents",
    ),
    _formula(
        "connections_on_broker",
        "connections",
        "connections_of_agents / brokers + publishers * ceil((host_slots + vpc_slots) / 1000)",
        "connections to a broker; a publisher has a producer for each thousand partitions",
    ),
    _formula(
        "connections_in_fleet",
        "connections",
        "connections_on_broker * brokers * clusters",
        "connections of the fleet",
    ),
    _formula(
        "idle_fetches", "1/s", "agents * brokers_read / fetch_wait_s", "fetches while nothing comes"
    ),
    _formula(
        "idle_fetches_in_fleet", "1/s", "idle_fetches * clusters", "the same in the whole fleet"
    ),
    # What changes do to it.
    _formula(
        "records",
        "1/s",
        "(changes_per_s + vpc_changes_per_s * replicas_of_vpc) / clusters",
        "records written",
    ),
    _formula(
        "readers_of_vpc_slot",
        "agents",
        "min(agents, vpcs_in_slot * hosts_of_vpc / replicas_of_vpc * online)",
        "agents that read a VPC's slot here",
    ),
    _formula(
        "deliveries",
        "1/s",
        "changes_per_s / clusters * hosts_in_slot * online"
        " + vpc_changes_per_s * replicas_of_vpc / clusters * readers_of_vpc_slot",
        "records handed to agents, needed or not",
    ),
    _formula(
        "reports",
        "1/s",
        "(changes_per_s + vpc_changes_per_s * hosts_of_vpc) / clusters * online",
        "reports of agents",
    ),
    _formula(
        "broker_cpu",
        "cores",
        "broker_idle_cores + (replicas_on_broker * partition_idle_us"
        " + (idle_fetches + deliveries) / brokers * fetch_us"
        " + (records + reports) / brokers * replication * change_broker_us) / 1000000",
        "CPU of a broker",
    ),
    _formula(
        "publisher_cpu",
        "cores",
        "(changes_per_s + vpc_changes_per_s * replicas_of_vpc) * change_publisher_us / 1000000",
        "CPU of all publishers; a process has little more than one core (Python)",
    ),
    # What it holds.
    _formula(
        "broker_memory",
        "bytes",
        "broker_base_bytes + replicas_on_broker * partition_bytes"
        " + connections_on_broker * connection_bytes",
        "memory of a broker's process, without the page cache",
    ),
    _formula(
        "broker_files",
        "files",
        "broker_base_files + replicas_on_broker * segments * partition_files"
        " + connections_on_broker",
        "open files of a broker",
    ),
    _formula(
        "broker_maps",
        "maps",
        "broker_base_maps + replicas_on_broker * segments * partition_maps",
        "memory maps of a broker",
    ),
    _formula(
        "record_bytes", "bytes", "resource_bytes + record_overhead_bytes", "a record in the log"
    ),
    _formula(
        "host_log_bytes",
        "bytes",
        "hosts / clusters * ports_per_host * record_bytes",
        "last records of hosts",
    ),
    _formula(
        "vpc_log_bytes",
        "bytes",
        "vpcs_in_cluster * vpc_resources * record_bytes",
        "last records of VPCs",
    ),
    _formula("live_bytes", "bytes", "host_log_bytes + vpc_log_bytes", "last records of everything"),
    _formula(
        "stale_bytes",
        "bytes",
        "min(records * record_bytes * roll_s, (host_slots + vpc_slots) * segment_bytes)"
        " + min(live_bytes, records * record_bytes * 31536000)",
        "overtaken records: active segments, and as much again as lives, when cleaning begins",
    ),
    _formula(
        "broker_disk",
        "bytes",
        "(live_bytes + stale_bytes) * replication / brokers"
        " + replicas_on_broker * segments * partition_disk_bytes",
        "disk of a broker",
    ),
    _formula(
        "redis_memory",
        "bytes",
        "redis_base_bytes + hosts * redis_host_bytes + vpcs * replicas_of_vpc * redis_vpc_bytes",
        "memory of Redis",
    ),
    # How long the whole takes.
    _formula(
        "fill_s",
        "s",
        "hosts * ports_per_host * max(bulk_publisher_us / publishers,"
        " bulk_broker_us * replication / (clusters * brokers * broker_cores)) / 1000000",
        "first fill of all hosts",
    ),
    _formula(
        "register_s", "s", "hosts * register_us / 1000000 / azs", "first placing of all hosts"
    ),
    _formula(
        "restart_cpu_s",
        "s",
        "agents / brokers * restart_broker_us / broker_cores / 1000000",
        "restart of the fleet: CPU of brokers, all cores",
    ),
    _formula(
        "restart_connect_s",
        "s",
        "connections_of_agents / brokers / connects_per_s",
        "restart of the fleet: new connections that brokers take",
    ),
    _formula(
        "restart_network_s",
        "s",
        "agents / brokers * (host_log_bytes / host_slots"
        " + vpcs_per_host * vpc_log_bytes / vpc_slots) * (1 + stale_bytes / live_bytes)"
        " / broker_network_bytes_per_s",
        "restart of the fleet: what agents read",
    ),
    _formula(
        "restart_brokers_s",
        "s",
        "max(restart_cpu_s, restart_connect_s, restart_network_s)",
        "restart of the fleet: what brokers need for it",
    ),
    _formula(
        "restart_redis_s",
        "s",
        "hosts * online * restart_redis_us / 1000000",
        "restart of the fleet: CPU of Redis, one core",
    ),
    _formula(
        "restart_s",
        "s",
        "max(restart_brokers_s, restart_redis_s)",
        "restart of the fleet without state; nodes compute beside each other",
    ),
)


def evaluate(
    values: Mapping[str, float], formulas: tuple[Formula, ...] = FORMULAS
) -> list[Quantity]:
    """Compute every formula in turn. What `values` names already is taken as it is."""
    known = dict(values)
    found = []
    for name, unit, expression, meaning in formulas:
        if name not in known:
            known[name] = expression(known)
        costs = tuple(one for one in expression.names if one in COSTS)
        found.append(Quantity(name, known[name], unit, meaning, expression.text, costs))
    return found

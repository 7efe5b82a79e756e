"""What the demonstration publishes: a shop of two tiers, and a small lab beside it. Pure.

The rule: it is shaped like a real tenant's network. A launch is one changeset that holds what one
virtual machine needs: its port and its DHCP entry for its host, and its neighbour for everybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from southbound.resources import (
    PUBLIC_SCOPE,
    Changeset,
    Resource,
    Scope,
    host_scope,
    vpc_scope,
)

SHOP = "vpc-shop"
LAB = "vpc-lab"
RULE_TO_CHANGE = "rule-web-https"


@dataclass(frozen=True, slots=True)
class Tier:
    """Virtual machines of one kind: their subnet, its network, and their security group."""

    name: str
    vpc: str
    network: str
    machines: int

    @property
    def subnet(self) -> str:
        """Id of the tier's subnet."""
        return f"subnet-{self.name}"

    @property
    def group(self) -> str:
        """Id of the tier's security group."""
        return f"sg-{self.name}"


WEB = Tier("web", SHOP, "10.1.1", 12)
DB = Tier("db", SHOP, "10.1.2", 6)
BENCH = Tier("bench", LAB, "10.9.1", 6)


@dataclass(frozen=True, slots=True)
class Launch:
    """One virtual machine: where it runs and what it is called."""

    tier: Tier
    number: int
    host: str

    @property
    def name(self) -> str:
        """Name of the machine, such as `web-03`."""
        return f"{self.tier.name}-{self.number:02d}"

    @property
    def address(self) -> str:
        """Its address."""
        return f"{self.tier.network}.{10 + self.number}"

    @property
    def mac(self) -> str:
        """Its hardware address, made of its network's and its own number."""
        _, second, third = self.tier.network.split(".")
        return f"fa:16:3e:{int(second):02x}:{int(third):02x}:{self.number:02x}"


def launches(hosts: Sequence[str]) -> list[Launch]:
    """Place every machine of every tier on a host, in turn; the last hosts stay empty."""
    machines = [(tier, number) for tier in (WEB, DB, BENCH) for number in range(tier.machines)]
    used = hosts[: max(1, len(hosts) - max(1, len(hosts) // 6))]
    return [
        Launch(tier, number, used[index % len(used)])
        for index, (tier, number) in enumerate(machines)
    ]


def _in_vpc(vpc: str, kind: str, id: str, **spec: Any) -> Resource:
    return Resource(vpc_scope(vpc), kind, id, 1, {"vpc_id": vpc, **spec})


def _rule(tier: Tier, name: str, port: int, source: str) -> Resource:
    return _in_vpc(
        tier.vpc,
        "security_group_rule",
        name,
        security_group_id=tier.group,
        direction="ingress",
        ethertype="IPv4",
        protocol="tcp",
        port_range_min=port,
        port_range_max=port,
        remote_ip_prefix=source,
    )


def _network(vpc: str, cidr: str, tiers: Sequence[Tier], rules: Sequence[Resource]) -> Changeset:
    resources = [Resource(vpc_scope(vpc), "vpc", vpc, 1, {"name": vpc, "cidr": cidr, "mtu": 1450})]
    for tier in tiers:
        resources += [
            _in_vpc(vpc, "subnet", tier.subnet, cidr=f"{tier.network}.0/24", ip_version=4),
            _in_vpc(vpc, "security_group", tier.group, name=tier.name),
        ]
    return Changeset(f"network-{vpc}", (*resources, *rules))


def networks() -> list[Changeset]:
    """Return the networks that the machines are launched into."""
    shop_rules = [
        _rule(WEB, RULE_TO_CHANGE, 443, "0.0.0.0/0"),
        _rule(WEB, "rule-web-http", 80, "0.0.0.0/0"),
        _rule(DB, "rule-db-sql", 5432, f"{WEB.network}.0/24"),
    ]
    return [
        _network(SHOP, "10.1.0.0/16", (WEB, DB), shop_rules),
        _network(LAB, "10.9.0.0/16", (BENCH,), [_rule(BENCH, "rule-bench-ssh", 22, "10.0.0.0/8")]),
    ]


def launch_changeset(launch: Launch) -> Changeset:
    """Return what one machine needs, on its host and in its VPC."""
    tier, port = launch.tier, f"port-{launch.name}"
    ip = {"subnet_id": tier.subnet, "ip_address": launch.address}
    on_host = host_scope(launch.host)
    return Changeset(
        f"launch-{launch.name}",
        (
            Resource(
                on_host,
                "port",
                port,
                1,
                {
                    "name": launch.name,
                    "vpc_id": tier.vpc,
                    "mac_address": launch.mac,
                    "fixed_ips": [ip],
                    "security_groups": [tier.group],
                    "admin_state_up": True,
                },
            ),
            Resource(
                on_host,
                "dhcp",
                f"dhcp-{launch.name}",
                1,
                {"port_id": port, "vpc_id": tier.vpc, **ip, "mac_address": launch.mac},
            ),
            _in_vpc(
                tier.vpc,
                "neighbor",
                f"neighbor-{launch.name}",
                **ip,
                mac_address=launch.mac,
                host_id=launch.host,
            ),
        ),
    )


def routers(placed: Sequence[Launch]) -> Iterator[Changeset]:
    """Yield, for each host of the web tier, the router and the gateway that lead out."""
    for host in dict.fromkeys(launch.host for launch in placed if launch.tier is WEB):
        scope, router = host_scope(host), f"router-{SHOP}"
        yield Changeset(
            f"router-{host}",
            (
                Resource(scope, "router", router, 1, {"name": "shop", "vpc_id": SHOP}),
                Resource(
                    scope,
                    "route",
                    f"route-{SHOP}-out",
                    1,
                    {"router_id": router, "destination": "0.0.0.0/0", "nexthop": "10.1.0.1"},
                ),
                Resource(
                    scope,
                    "gateway",
                    f"gateway-{SHOP}",
                    1,
                    {"vpc_id": SHOP, "ip_address": "203.0.113.1", "router_id": router},
                ),
            ),
        )


def balancers(number: int) -> list[Changeset]:
    """Return load balancers for the two workers to share."""
    return [
        Changeset(
            f"elb-{index:02d}",
            (
                Resource(
                    PUBLIC_SCOPE,
                    "elb",
                    f"elb-{index:02d}",
                    1,
                    {"name": f"shop-{index}", "vip_address": f"203.0.113.{20 + index}"},
                ),
            ),
        )
        for index in range(number)
    ]


def changed_rule(revision: int, source: str) -> Changeset:
    """Return one change of one rule of the web tier's security group."""
    rule = _rule(WEB, RULE_TO_CHANGE, 443, source)
    return Changeset(
        f"change-{RULE_TO_CHANGE}-{revision}",
        (Resource(rule.scope, rule.kind, rule.id, revision, rule.spec),),
    )


def renamed_port(launch: Launch, revision: int) -> Changeset:
    """Return a change of one machine's port alone."""
    port = launch_changeset(launch).resources[0]
    spec = {**port.spec, "name": f"{launch.name}-r{revision}"}
    return Changeset(
        f"rename-{launch.name}-{revision}",
        (Resource(port.scope, port.kind, port.id, revision, spec),),
    )


def scopes_of(changesets: Sequence[Changeset]) -> set[Scope]:
    """Return every scope that the changesets touch."""
    return {resource.scope for changeset in changesets for resource in changeset.resources}

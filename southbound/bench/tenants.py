"""What the nodes of a benchmark hold: hosts over all clusters, a few VPCs, ports in them.

The rule: nothing waits for anything. Every VPC, subnet and security group that a port names is
published before it, so each change is one record and applied as soon as it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from southbound.directory import Directory
from southbound.producer import Publisher
from southbound.resources import Changeset, Resource, host_scope, vpc_scope
from southbound.settings import PublisherSettings

VPC_RESOURCES = 3
"""What stands in each VPC: itself, a subnet, a security group."""

_FIRST_REVISION = 1
_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenants:
    """`hosts` hosts with `ports` ports each; all ports of a host are in one of `vpcs` VPCs."""

    hosts: int
    ports: int = 1
    vpcs: int = 20

    @property
    def ids(self) -> list[str]:
        """The hosts."""
        return [f"bench-host-{number:06d}" for number in range(self.hosts)]

    def vpc(self, host: int) -> str:
        """Return the VPC of host number `host`."""
        return f"bench-vpc-{host % self.vpcs:03d}"

    def port(self, host: int, port: int, revision: int) -> Resource:
        """Return a port of host number `host` at a revision."""
        vpc = self.vpc(host)
        number = host * self.ports + port
        spec = {
            "vpc_id": vpc,
            "name": f"port {port} of host {host}",
            "mac_address": f"fa:16:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}"
            f":{number >> 8 & 255:02x}:{number & 255:02x}",
            "fixed_ips": [
                {
                    "subnet_id": f"{vpc}-subnet",
                    "ip_address": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
                }
            ],
            "security_groups": [f"{vpc}-group"],
            "admin_state_up": revision % 2 == 1,
        }
        id_ = f"bench-port-{host:06d}-{port:03d}"
        return Resource(host_scope(f"bench-host-{host:06d}"), "port", id_, revision, spec)


def settle(directory: Directory, tenants: Tenants) -> None:
    """Register the hosts, publish their VPCs and ports at revision 1, and wait for it."""
    register(directory, tenants.ids)
    with Publisher(directory, PublisherSettings(client_id="bench-tenants")) as publisher:
        named = dict.fromkeys(tenants.vpc(host) for host in range(tenants.hosts))
        publisher.publish_many([network(vpc) for vpc in named]).accepted.result(_TIMEOUT_S)
        publisher.publish_many(
            [
                Changeset(f"bench-first-{host}-{port}", (tenants.port(host, port, 1),))
                for host in range(tenants.hosts)
                for port in range(tenants.ports)
            ]
        ).accepted.result(_TIMEOUT_S)


def register(directory: Directory, ids: Sequence[str]) -> None:
    """Register hosts, as many in each cluster."""
    azs = [
        az.id
        for az in directory.topology.azs
        for _ in directory.topology.pools_in("host", az=az.id)
    ]
    directory.register_hosts({id_: azs[number % len(azs)] for number, id_ in enumerate(ids)})


def network(vpc: str) -> Changeset:
    """Return a VPC's first changeset: itself, a subnet, a security group."""
    scope = vpc_scope(vpc)
    return Changeset(
        f"first-{vpc}",
        (
            Resource(scope, "vpc", vpc, _FIRST_REVISION, {"name": vpc, "cidr": "10.0.0.0/8"}),
            Resource(
                scope,
                "subnet",
                f"{vpc}-subnet",
                _FIRST_REVISION,
                {"vpc_id": vpc, "cidr": "10.0.0.0/8", "ip_version": 4},
            ),
            Resource(scope, "security_group", f"{vpc}-group", _FIRST_REVISION, {"name": "bench"}),
        ),
    )

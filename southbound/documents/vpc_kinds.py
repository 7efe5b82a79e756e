"""Kinds that every host of a VPC gets: vpc, subnet, neighbor, security_group, security_group_rule.

The rule: names are those of the OpenStack Networking API v2, except that a network is a VPC here and
`vpc_id` refers to one; where Alcor's goal state calls the same thing otherwise, that name is known
too (docs/documents.md). A set (rules, neighbors) is never one big value: each is a resource.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from southbound.documents.fields import Cidr, Count, Flag, Id, Ip, IpOrCidr, Mac, Transport
from southbound.documents.host_kinds import AddressPair, FixedIp, HostRoute
from southbound.documents.spec import Spec


def _network(cidr: str) -> str:
    network = ip_network(cidr, strict=False)
    if network.network_address != ip_address(cidr.partition("/")[0]):
        raise ValueError(f"has bits set beyond its length: {network} is the network")
    return cidr


_Network = Annotated[Cidr, AfterValidator(_network)]


class Vpc(Spec):
    """A tenant's network."""

    name: str | None = None
    cidr: _Network | None = None
    mtu: Count | None = None
    tunnel_id: Count | None = None
    admin_state_up: Flag | None = None


class AllocationPool(Spec):
    """A range of addresses that ports may get."""

    start: Ip
    end: Ip


class Subnet(Spec):
    """A range of addresses of a VPC."""

    vpc_id: Id | None = None
    name: str | None = None
    cidr: _Network
    ip_version: Literal[4, 6] | None = None
    gateway_ip: Ip | None = None
    enable_dhcp: Flag | None = None
    dns_nameservers: list[Ip] | None = None
    allocation_pools: list[AllocationPool] | None = None
    host_routes: list[HostRoute] | None = None


class Neighbor(Spec):
    """Where an address of the VPC is: its MAC, and the host that holds it."""

    vpc_id: Id | None = None
    subnet_id: Id | None = None
    port_id: Id | None = None
    ip_address: Ip | None = None
    fixed_ips: list[FixedIp] | None = None
    mac_address: Mac | None = None
    host_id: Id | None = None
    host_ip_address: Ip | None = None
    host_mac_address: Mac | None = None
    allow_address_pairs: list[AddressPair] | None = None

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.ip_address is None and not self.fixed_ips:
            raise ValueError("needs ip_address or fixed_ips")
        return self


class SecurityGroup(Spec):
    """A named set of rules that ports refer to."""

    vpc_id: Id | None = None
    name: str | None = None
    description: str | None = None
    stateful: Flag | None = None


class SecurityGroupRule(Spec):
    """One rule of a security group; what is null matches anything."""

    security_group_id: Id
    vpc_id: Id | None = None
    direction: Literal["ingress", "egress"] | None = None
    ethertype: Literal["IPv4", "IPv6"] | None = None
    protocol: Annotated[str | int, Field(union_mode="left_to_right")] | None = None
    port_range_min: Transport | None = None
    port_range_max: Transport | None = None
    remote_ip_prefix: IpOrCidr | None = None
    remote_group_id: Id | None = None

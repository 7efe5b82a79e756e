"""Kinds that one host gets: port, dhcp, router, route, gateway.

The rule: names are those of the OpenStack Networking API v2; where Alcor's goal state calls the same
thing otherwise, that name is known too (docs/documents.md).
"""

from __future__ import annotations

from southbound.documents.fields import Cidr, Count, Flag, Id, Ip, IpOrCidr, Mac
from southbound.documents.spec import Spec


class FixedIp(Spec):
    """An address of a port, out of one of its VPC's subnets."""

    ip_address: Ip
    subnet_id: Id | None = None


class AddressPair(Spec):
    """A further address, or a prefix, that a port may send from."""

    ip_address: IpOrCidr
    mac_address: Mac | None = None


class Port(Spec):
    """A connection of a host to a VPC; its host follows the VPC that `vpc_id` names."""

    vpc_id: Id
    name: str | None = None
    mac_address: Mac | None = None
    admin_state_up: Flag | None = None
    port_security_enabled: Flag | None = None
    device_id: str | None = None
    device_owner: str | None = None
    fixed_ips: list[FixedIp] | None = None
    allowed_address_pairs: list[AddressPair] | None = None
    security_groups: list[Id] | None = None


class HostRoute(Spec):
    """A static route that DHCP tells, or a router's own."""

    destination: Cidr
    nexthop: Ip


class Dhcp(Spec):
    """What a host's DHCP answers one port in one subnet."""

    port_id: Id | None = None
    vpc_id: Id | None = None
    subnet_id: Id | None = None
    mac_address: Mac | None = None
    ipv4_address: Ip | None = None
    ipv6_address: Ip | None = None
    cidr: Cidr | None = None
    gateway_ip: Ip | None = None
    dns_nameservers: list[Ip] | None = None
    host_routes: list[HostRoute] | None = None
    mtu: Count | None = None


class Router(Spec):
    """A router on a host; its routes and its gateways are resources of their own."""

    name: str | None = None
    admin_state_up: Flag | None = None
    distributed: Flag | None = None
    ha: Flag | None = None
    host_dvr_mac_address: Mac | None = None


class Route(Spec):
    """One route of a router."""

    router_id: Id
    destination: Cidr
    nexthop: Ip | None = None
    subnet_id: Id | None = None
    priority: Count | None = None


class Gateway(Spec):
    """A router's way out of its VPCs."""

    router_id: Id | None = None
    vpc_id: Id | None = None
    enable_snat: Flag | None = None
    external_fixed_ips: list[FixedIp] | None = None

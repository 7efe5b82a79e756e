"""Kinds that exactly one worker of a group gets: elb, nat_gateway, eip.

The rule: an eip is what the OpenStack Networking API calls a floating IP, with its names; the other
two use the words of that API's load balancer and of its gateways.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from southbound.documents.fields import Count, Flag, Id, Ip, Transport
from southbound.documents.host_kinds import FixedIp
from southbound.documents.spec import Spec

_Port = Annotated[int, Field(strict=True, ge=1, le=65_535)]


class Listener(Spec):
    """Where a load balancer listens, and the pool of members that it sends to."""

    protocol: str
    protocol_port: _Port
    default_pool_id: Id | None = None


class Member(Spec):
    """A server behind a load balancer."""

    address: Ip
    protocol_port: _Port
    subnet_id: Id | None = None
    weight: Count | None = None


class Elb(Spec):
    """A load balancer."""

    name: str | None = None
    vpc_id: Id | None = None
    vip_address: Ip | None = None
    vip_subnet_id: Id | None = None
    admin_state_up: Flag | None = None
    listeners: list[Listener] | None = None
    members: list[Member] | None = None


class NatGateway(Spec):
    """Translates the addresses of a VPC's subnets to public ones."""

    name: str | None = None
    vpc_id: Id | None = None
    subnet_ids: list[Id] | None = None
    router_id: Id | None = None
    external_fixed_ips: list[FixedIp] | None = None


class PortForwarding(Spec):
    """One transport port of an eip, sent to a port inside."""

    protocol: Literal["tcp", "udp", "sctp", "icmp", "dccp"] | None = None
    external_port: Transport | None = None
    internal_port: Transport | None = None
    internal_ip_address: Ip | None = None
    internal_port_id: Id | None = None


class Eip(Spec):
    """A public address, and the fixed address that it stands for, if any."""

    floating_ip_address: Ip
    floating_network_id: Id | None = None
    fixed_ip_address: Ip | None = None
    port_id: Id | None = None
    router_id: Id | None = None
    vpc_id: Id | None = None
    port_forwardings: list[PortForwarding] | None = None

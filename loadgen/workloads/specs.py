"""Ids, addresses and specs of a simulated fleet's resources.

The rule: all follow from numbers, are short, and never change; specs are what the publisher accepts
(`southbound.documents`), with the fields that a real dataplane needs and the size that they have there.
"""

from __future__ import annotations

from southbound.resources import Resource, host_scope, vpc_scope

SUBNET_PORTS = 16_000
"""Ports of one subnet, a /18 of 10.0.0.0/8: 16,384 addresses less those at its begin and end."""

_SUBNET_SIZE = 1 << 14
_FIRST_ADDRESS = 10
_VPC_NET = 10 << 24
_HOST_NET = (100 << 24) | (64 << 16)
_PUBLIC_NET = (198 << 24) | (18 << 16)
_RULE_PORTS = (22, 80, 443, 5432, 6379, 8080, 8443, 9092)


def host_id(i: int) -> str:
    """Return a host's id."""
    return f"h{i:07d}"


def vpc_id(j: int) -> str:
    """Return a VPC's id."""
    return f"v{j:06d}"


def port_id(number: int) -> str:
    """Return a port's id."""
    return f"p{number:010d}"


def _dotted(address: int) -> str:
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def address(ordinal: int) -> str:
    """Return the address of a VPC's port in 10.0.0.0/8; every VPC has a space of its own."""
    subnet, within = divmod(ordinal, SUBNET_PORTS)
    return _dotted(_VPC_NET + subnet * _SUBNET_SIZE + _FIRST_ADDRESS + within)


def host_address(i: int) -> str:
    """Return the address that carries a host's tunnels."""
    return _dotted(_HOST_NET + 1 + i)


def public_address(number: int) -> str:
    """Return an address of the outside, in 198.18.0.0/15 (RFC 2544, for benchmarks); they come round."""
    return _dotted(_PUBLIC_NET + number % (1 << 17))


def mac(number: int) -> str:
    """Return a port's hardware address, locally administered (IEEE 802: second bit of the first byte)."""
    digits = f"{number:010x}"
    return ":".join(("02", *(digits[at : at + 2] for at in range(0, 10, 2))))


def subnet_of(ordinal: int) -> int:
    """Return which of its VPC's subnets a port is in."""
    return ordinal // SUBNET_PORTS


def subnet_id(j: int, number: int) -> str:
    """Return a subnet's id."""
    return f"{vpc_id(j)}-s{number}"


def group_id(j: int, number: int) -> str:
    """Return a security group's id."""
    return f"{vpc_id(j)}-g{number}"


def vpc(j: int, revision: int) -> Resource:
    """Return a VPC's resource."""
    id = vpc_id(j)
    spec = {"name": id, "cidr": "10.0.0.0/8", "mtu": 1450, "tunnel_id": j + 1}
    return Resource(vpc_scope(id), "vpc", id, revision, spec)


def subnet(j: int, number: int, revision: int) -> Resource:
    """Return one subnet of a VPC."""
    net = _VPC_NET + number * _SUBNET_SIZE
    spec = {
        "vpc_id": vpc_id(j),
        "cidr": f"{_dotted(net)}/18",
        "ip_version": 4,
        "gateway_ip": _dotted(net + 1),
        "enable_dhcp": True,
    }
    return Resource(vpc_scope(vpc_id(j)), "subnet", subnet_id(j, number), revision, spec)


def group(j: int, number: int, revision: int) -> Resource:
    """Return one security group of a VPC."""
    id = group_id(j, number)
    spec = {"vpc_id": vpc_id(j), "name": f"group {number}", "stateful": True}
    return Resource(vpc_scope(vpc_id(j)), "security_group", id, revision, spec)


def rule(j: int, group: int, number: int, revision: int) -> Resource:
    """Return one rule of a security group; its source moves on with each revision."""
    named = group_id(j, group)
    port = _RULE_PORTS[number % len(_RULE_PORTS)]
    spec = {
        "security_group_id": named,
        "vpc_id": vpc_id(j),
        "direction": "ingress",
        "ethertype": "IPv4",
        "protocol": "tcp",
        "port_range_min": port,
        "port_range_max": port,
        "remote_ip_prefix": f"10.{revision % 256}.0.0/16",
    }
    id = f"{named}-r{number}"
    return Resource(vpc_scope(vpc_id(j)), "security_group_rule", id, revision, spec)


def port(host: int, number: int, vpc: int, ordinal: int, group: int, revision: int) -> Resource:
    """Return a port's resource; its name moves on with each revision, as a user's would."""
    spec = {
        "vpc_id": vpc_id(vpc),
        "name": f"vm-{number}-{revision}",
        "mac_address": mac(number),
        "admin_state_up": True,
        "fixed_ips": [
            {"subnet_id": subnet_id(vpc, subnet_of(ordinal)), "ip_address": address(ordinal)}
        ],
        "security_groups": [group_id(vpc, group)],
    }
    return Resource(host_scope(host_id(host)), "port", port_id(number), revision, spec)


def dhcp(host: int, number: int, vpc: int, ordinal: int, revision: int) -> Resource:
    """Return what a port is answered by DHCP."""
    subnet = subnet_of(ordinal)
    net = _VPC_NET + subnet * _SUBNET_SIZE
    spec = {
        "port_id": port_id(number),
        "vpc_id": vpc_id(vpc),
        "subnet_id": subnet_id(vpc, subnet),
        "mac_address": mac(number),
        "ipv4_address": address(ordinal),
        "cidr": f"{_dotted(net)}/18",
        "gateway_ip": _dotted(net + 1),
        "mtu": 1450,
    }
    return Resource(host_scope(host_id(host)), "dhcp", f"d{number:010d}", revision, spec)


def neighbor(host: int, number: int, vpc: int, ordinal: int, revision: int) -> Resource:
    """Return where a port is; a revision is another life of it, on the same host."""
    spec = {
        "vpc_id": vpc_id(vpc),
        "subnet_id": subnet_id(vpc, subnet_of(ordinal)),
        "port_id": port_id(number),
        "ip_address": address(ordinal),
        "mac_address": mac(number),
        "host_id": host_id(host),
        "host_ip_address": host_address(host),
    }
    return Resource(vpc_scope(vpc_id(vpc)), "neighbor", f"n{number:010d}", revision, spec)

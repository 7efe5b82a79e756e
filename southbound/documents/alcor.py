"""Alcor's words for what Southbound carries: names, enumerations, and specs.

The rule: a goal state is protobuf's JSON, where `vpcId` and `vpc_id` are one name, an enumeration is
its word or its number, and a field that is absent has its default (0, the first word, or nothing).
Every field is kept under its protobuf name; where the OpenStack Networking API calls the same thing
otherwise, that name is added, so an applier need not know which control plane it works for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from southbound.resources import Op

TYPES = ("vpc", "subnet", "port", "neighbor", "security_group", "dhcp", "router", "gateway")
"""Kinds in the order of Alcor's `ResourceType`, which names the fifth SECURITYGROUP."""

_OPERATIONS = ("INFO", "CREATE", "UPDATE", "GET", "DELETE")
_DIRECTIONS = ("egress", "ingress")
_ETHERTYPES = ("IPv4", "IPv6")
_PROTOCOLS = ("tcp", "udp", "icmp", "http", "arp")
_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")


def snake(name: str) -> str:
    """Return the protobuf name of a field: `hostDvrMacAddress` is `host_dvr_mac_address`."""
    return _CAPITAL.sub(lambda match: "_" + match[0].lower(), name)


def message(value: Any) -> Any:
    """Return a message with protobuf's names and without its empty texts, which mean absence."""
    if isinstance(value, dict):
        return {snake(name): message(item) for name, item in value.items() if item != ""}
    if isinstance(value, list):
        return [message(item) for item in value]
    return value


def kind_of_type(resource_type: Any) -> str | None:
    """Return the kind that a `ResourceType` means, or None for one that is not known."""
    if isinstance(resource_type, str):
        word = resource_type.lower().replace("_", "")
        return next((kind for kind in TYPES if kind.replace("_", "") == word), None)
    return _numbered(TYPES, resource_type)


def op_of(operation: Any) -> Op | None:
    """Return what an `OperationType` does to a resource, or None where it changes nothing.

    INFO tells a node what it needs to know beside a change, so it is written as well. The longer
    words of older schemas (`NEIGHBOR_CREATE_UPDATE`) mean what they end with.
    """
    word = operation if isinstance(operation, str) else _numbered(_OPERATIONS, operation)
    if word is None:
        return None
    if word.endswith("DELETE"):
        return Op.DELETE
    written = word == "INFO" or "CREATE" in word or "UPDATE" in word
    return Op.UPSERT if written else None


def spec_of(kind: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of a configuration; sets that are resources of their own are left out."""
    spec = dict(configuration)
    add = _ADDITIONS.get(kind)
    if add is not None:
        spec.update({name: value for name, value in add(spec).items() if value not in (None, [])})
    for lifted in ("security_group_rules", "subnet_routing_tables"):
        spec.pop(lifted, None)
    return spec


def rule_spec(rule: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Return the spec of one rule of a security group; ports from 0 to 0 mean any."""
    spec = {name: value for name, value in rule.items() if name != "operation_type"}
    spec["security_group_id"] = group
    spec["direction"] = _worded(_DIRECTIONS, rule.get("direction", 0))
    spec["ethertype"] = _worded(_ETHERTYPES, rule.get("ethertype", 0))
    spec["protocol"] = _worded(_PROTOCOLS, rule.get("protocol", 0))
    if not rule.get("port_range_min") and not rule.get("port_range_max"):
        spec.pop("port_range_min", None)
        spec.pop("port_range_max", None)
    return spec


def route_spec(rule: Mapping[str, Any], router: str, subnet: str) -> dict[str, Any]:
    """Return the spec of one routing rule of a router's table for a subnet."""
    spec = {name: value for name, value in rule.items() if name != "operation_type"}
    added = {"router_id": router, "subnet_id": subnet, "nexthop": rule.get("next_hop_ip")}
    return {**spec, **{name: value for name, value in added.items() if value}}


def items(message: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """Return the messages of a repeated field."""
    value = message.get(field)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _numbered(words: tuple[str, ...], number: Any) -> str | None:
    known = type(number) is int and 0 <= number < len(words)
    return words[number] if known else None


def _worded(words: tuple[str, ...], value: Any) -> Any:
    """Return the Networking API's word for a value of an enumeration; an unknown one as it is."""
    if isinstance(value, str):
        return next((word for word in words if word.lower() == value.lower()), value)
    return _numbered(words, value) or value


def _subnet(spec: Mapping[str, Any]) -> dict[str, Any]:
    gateway = spec.get("gateway")
    return {
        "gateway_ip": gateway.get("ip_address") if isinstance(gateway, dict) else None,
        "enable_dhcp": spec.get("dhcp_enable"),
        "dns_nameservers": [item.get("entry") for item in items(spec, "dns_entry_list")],
    }


def _port(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "security_groups": [item.get("id") for item in items(spec, "security_group_ids")],
        "allowed_address_pairs": items(spec, "allow_address_pairs"),
    }


def _neighbor(spec: Mapping[str, Any]) -> dict[str, Any]:
    addresses = items(spec, "fixed_ips")
    if len(addresses) != 1:
        return {}
    return {name: addresses[0].get(name) for name in ("ip_address", "subnet_id")}


_ADDITIONS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "subnet": _subnet,
    "port": _port,
    "neighbor": _neighbor,
}

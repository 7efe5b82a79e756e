"""Ports of the Networking API, and what follows from them: neighbors and DHCP entries.

The rule: `binding:host_id` says which host a port belongs to; without it nothing of the port is
published, its neighbors neither, since the same revision read with the host would then differ. A
port gives one neighbor for each of its addresses, at the port's revision, and one DHCP entry for
each subnet with DHCP; that one depends on port and subnet, so its revision is the sum of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from southbound.documents.neutron_tables import PORT, SUBNET, Item, Tables
from southbound.documents.placing import Placing
from southbound.resources import Resource, host_scope, vpc_scope


def host_of(port: Item) -> str | None:
    """Return the host that a port is bound to, or None."""
    host = port.fields.get("binding:host_id")
    return host if isinstance(host, str) and host else None


def network_of(item: Item) -> str | None:
    """Return the network that an object is of, or None."""
    network = item.fields.get("network_id")
    return network if isinstance(network, str) and network else None


def place_ports(tables: Tables, placing: Placing) -> None:
    """Put in every port that has a host, with its neighbors and its DHCP entries."""
    for port in tables.of(PORT).values():
        host, network, revision = host_of(port), network_of(port), placing.revision(port.fields)
        if host is None:
            placing.leave(PORT, port.id, _no_host(port), port.source)
        elif network is None:
            placing.leave(PORT, port.id, "has no network_id", port.source)
        elif revision is None:
            placing.leave(PORT, port.id, placing.no_revision(port.fields), port.source)
        else:
            spec = {**port.fields, "vpc_id": network}
            resource = Resource(host_scope(host), PORT, port.id, revision, spec)
            if placing.put(resource, port.source):
                _place_neighbors(resource, port, placing)
                _place_dhcp(resource, port, tables, placing)


def _no_host(port: Item) -> str:
    if "binding:host_id" in port.fields:
        return (
            "is bound to no host (binding:host_id is empty), so it and its neighbors are left out"
        )
    return (
        "shows no binding:host_id, which the API shows to administrators only,"
        " so it and its neighbors are left out"
    )


def _place_neighbors(resource: Resource, port: Item, placing: Placing) -> None:
    vpc = resource.spec["vpc_id"]
    for fixed in port.fields.get("fixed_ips") or ():
        spec = {
            "vpc_id": vpc,
            "subnet_id": fixed.get("subnet_id"),
            "ip_address": fixed["ip_address"],
            "mac_address": port.fields.get("mac_address"),
            "port_id": port.id,
            "host_id": resource.scope.id,
        }
        id = f"{port.id}@{fixed['ip_address']}"
        neighbor = Resource(vpc_scope(vpc), "neighbor", id, resource.revision, _present(spec))
        placing.put(neighbor, port.source)


def _place_dhcp(resource: Resource, port: Item, tables: Tables, placing: Placing) -> None:
    if str(port.fields.get("device_owner") or "").startswith("network:"):
        return
    served: set[str] = set()
    for fixed in port.fields.get("fixed_ips") or ():
        subnet = tables.of(SUBNET).get(fixed.get("subnet_id") or "")
        if subnet is None or subnet.id in served or not _serves(subnet.fields):
            continue
        served.add(subnet.id)
        id = f"{port.id}@{subnet.id}"
        revision = placing.revision(subnet.fields)
        if revision is None:
            placing.leave(
                "dhcp", id, f"its subnet {placing.no_revision(subnet.fields)}", port.source
            )
            continue
        spec = _dhcp_spec(resource, fixed, subnet.fields)
        dhcp = Resource(resource.scope, "dhcp", id, resource.revision + revision, spec)
        placing.put(dhcp, port.source)


def _serves(subnet: Mapping[str, Any]) -> bool:
    """Tell whether ports get their addresses in this subnet by DHCP."""
    if subnet.get("enable_dhcp") is not True:
        return False
    return subnet.get("ip_version") != 6 or str(subnet.get("ipv6_address_mode")).startswith(
        "dhcpv6"
    )


def _dhcp_spec(
    port: Resource, fixed: Mapping[str, Any], subnet: Mapping[str, Any]
) -> dict[str, Any]:
    address = "ipv6_address" if subnet.get("ip_version") == 6 else "ipv4_address"
    taken = ("cidr", "gateway_ip", "dns_nameservers", "host_routes", "ipv6_address_mode")
    return _present(
        {
            "port_id": port.id,
            "vpc_id": port.spec["vpc_id"],
            "subnet_id": fixed["subnet_id"],
            "mac_address": port.spec.get("mac_address"),
            address: fixed["ip_address"],
            "extra_dhcp_opts": port.spec.get("extra_dhcp_opts"),
            **{field: subnet.get(field) for field in taken},
        }
    )


def _present(spec: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in spec.items() if value is not None}

"""Routers of the Networking API, their routes and their gateways.

The rule: a router goes to the hosts of its own ports; a distributed one, or one whose ports show no
host, goes to every host that has a port in a network which it connects; else to the hosts named by
option. Each route, and each gateway, is a resource of its own at the router's revision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from southbound.documents.neutron_ports import host_of, network_of
from southbound.documents.neutron_tables import PORT, ROUTER, SUBNET, Item, Tables
from southbound.documents.placing import Placing
from southbound.resources import Resource, Scope, host_scope

_OWNERS = ("network:router_", "network:ha_router_")
_OUTWARD = frozenset({"network:router_gateway", "network:router_ha_interface"})


def place_routers(tables: Tables, placing: Placing, fallback_hosts: tuple[str, ...]) -> None:
    """Put every router, with its routes and gateways, on each of its hosts."""
    for router in tables.of(ROUTER).values():
        hosts = _hosts(router, tables) or dict.fromkeys(fallback_hosts)
        revision = placing.revision(router.fields)
        if revision is None:
            placing.leave(ROUTER, router.id, placing.no_revision(router.fields), router.source)
        elif not hosts:
            placing.leave(ROUTER, router.id, _no_host(router), router.source)
        else:
            for host in hosts:
                for resource in _resources(router, host_scope(host), revision):
                    placing.put(resource, router.source)


def _hosts(router: Item, tables: Tables) -> dict[str, None]:
    own = [
        port
        for port in tables.of(PORT).values()
        if port.fields.get("device_id") == router.id and _owner(port).startswith(_OWNERS)
    ]
    hosts = dict.fromkeys(host for port in own if (host := host_of(port)))
    if hosts and router.fields.get("distributed") is not True:
        return hosts
    networks = {network_of(port) for port in own if _owner(port) not in _OUTWARD}
    networks.update(_interface_networks(router, tables))
    for port in tables.of(PORT).values():
        host = host_of(port)
        if host is not None and network_of(port) in networks - {None}:
            hosts[host] = None
    return hosts


def _owner(port: Item) -> str:
    return str(port.fields.get("device_owner") or "")


def _interface_networks(router: Item, tables: Tables) -> Iterator[str | None]:
    for interface in _objects(router.fields.get("interfaces_info")):
        subnet = tables.of(SUBNET).get(str(interface.get("subnet_id")))
        port = tables.of(PORT).get(str(interface.get("port_id")))
        yield from (network_of(item) for item in (subnet, port) if item is not None)


def _no_host(router: Item) -> str:
    carried = len(_objects(router.fields.get("routes"))) + len(_gateways(router.fields))
    also = f", nor are its {carried} routes and gateways" if carried else ""
    return (
        f"no port of this import tells its hosts, so it is not published{also}: name hosts for it"
    )


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _gateways(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    several = _objects(fields.get("external_gateways"))
    return several or _objects([fields.get("external_gateway_info")])


def _resources(router: Item, scope: Scope, revision: int) -> Iterator[Resource]:
    spec = {name: value for name, value in router.fields.items() if name != "routes"}
    yield Resource(scope, ROUTER, router.id, revision, spec)
    for route in _objects(router.fields.get("routes")):
        id = f"{router.id}@{route.get('destination')}@{route.get('nexthop')}"
        yield Resource(scope, "route", id, revision, {**route, "router_id": router.id})
    seen: dict[str, int] = {}
    for gateway in _gateways(router.fields):
        network = str(gateway.get("network_id") or "external")
        seen[network] = seen.get(network, 0) + 1
        id = f"{router.id}@{network}" + (f"@{seen[network]}" if seen[network] > 1 else "")
        spec = {**gateway, "router_id": router.id, "vpc_id": gateway.get("network_id")}
        yield Resource(scope, "gateway", id, revision, spec)

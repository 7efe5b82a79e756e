"""Responses of the OpenStack Networking API v2 into changesets (docs/documents.md).

The rule: a network is a VPC; every field stays as the API showed it, and `vpc_id` is added. An
import only says what is there: what the cloud has deleted since is deleted by a native document.
All documents of an import are read before anything is placed, so one may refer to another.
"""

from __future__ import annotations

from collections.abc import Iterable

from southbound.documents.document import Document
from southbound.documents.imported import Imported
from southbound.documents.neutron_groups import place_groups
from southbound.documents.neutron_ports import network_of, place_ports
from southbound.documents.neutron_routers import place_routers
from southbound.documents.neutron_tables import FLOATING_IP, NETWORK, SUBNET, Item, Tables
from southbound.documents.options import ImportOptions
from southbound.documents.placing import Placing
from southbound.resources import PUBLIC_SCOPE, Resource, vpc_scope
from southbound.settings import DocumentSettings


def import_neutron(
    documents: Iterable[Document],
    options: ImportOptions | None = None,
    settings: DocumentSettings | None = None,
) -> Imported:
    """Return the changesets of these responses, and all that could not be placed."""
    options = options or ImportOptions()
    settings = settings or DocumentSettings()
    placing = Placing(revision_offset=options.revision_offset)
    tables = Tables(placing)
    for document in documents:
        tables.read(document)
    _place_networks(tables, placing)
    place_groups(tables, placing, options.security_group_vpc)
    place_ports(tables, placing)
    place_routers(tables, placing, options.router_hosts)
    _place_floating_ips(tables, placing)
    return placing.imported(resources_max=settings.changeset_resources_max)


def _place_networks(tables: Tables, placing: Placing) -> None:
    for item in (*tables.of(NETWORK).values(), *tables.of(SUBNET).values()):
        vpc = item.id if item.kind == NETWORK else network_of(item)
        revision = placing.revision(item.fields)
        if vpc is None:
            placing.leave(item.kind, item.id, "has no network_id", item.source)
        elif revision is None:
            placing.leave(item.kind, item.id, placing.no_revision(item.fields), item.source)
        elif item.kind == NETWORK:
            placing.put(Resource(vpc_scope(vpc), "vpc", vpc, revision, item.fields), item.source)
        else:
            spec = {**item.fields, "vpc_id": vpc}
            placing.put(Resource(vpc_scope(vpc), SUBNET, item.id, revision, spec), item.source)


def _place_floating_ips(tables: Tables, placing: Placing) -> None:
    for item in tables.of(FLOATING_IP).values():
        revision = placing.revision(item.fields)
        if revision is None:
            placing.leave(item.kind, item.id, placing.no_revision(item.fields), item.source)
            continue
        inside = _inside_network(item)
        spec = {**item.fields, **({"vpc_id": inside} if inside else {})}
        placing.put(Resource(PUBLIC_SCOPE, "eip", item.id, revision, spec), item.source)


def _inside_network(floating_ip: Item) -> str | None:
    """Return the network of the port that a floating IP stands for."""
    details = floating_ip.fields.get("port_details")
    network = details.get("network_id") if isinstance(details, dict) else None
    return network if isinstance(network, str) and network else None

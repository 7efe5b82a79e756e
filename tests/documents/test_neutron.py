"""Importing responses of the Networking API: hand-written ones, and real samples where present."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from southbound.documents.document import Document
from southbound.documents.imported import Imported
from southbound.documents.kinds import validate_spec
from southbound.documents.neutron import import_neutron
from southbound.documents.options import ImportOptions
from southbound.documents.reading import read_files
from southbound.resources import KINDS, PUBLIC_SCOPE, Resource, ScopeClass, host_scope, vpc_scope
from southbound.wire.envelope import encode_spec
from southbound.wire.keys import decode_key, encode_key

DATA = Path(__file__).parent / "data" / "neutron"
CLOUD = sorted(DATA.glob("*.json"))
SHOP = vpc_scope("net-shop")


def table(imported: Imported) -> dict[str, Resource]:
    """Return the resources of an import by `scope/kind/id`."""
    return {
        str(item.key): item for changeset in imported.changesets for item in changeset.resources
    }


def load(name: str) -> Any:
    """Return one of the hand-written responses."""
    return json.loads((DATA / name).read_text())


def imported(*values: Any, **options: Any) -> Imported:
    """Import responses that are given as data."""
    documents = [Document(f"file-{index}", value) for index, value in enumerate(values)]
    return import_neutron(documents, ImportOptions(**options))


@pytest.fixture
def cloud() -> Imported:
    """Return the whole hand-written cloud, out of all its files."""
    return read_files(CLOUD)


def test_everything_has_its_place(cloud: Imported) -> None:
    """Each object of the cloud is where its rule puts it, across files, and nothing else is there."""
    assert set(table(cloud)) == {
        "vpc:net-shop/vpc/net-shop",
        "vpc:net-public/vpc/net-public",
        "vpc:net-shop/subnet/sub-web",
        "vpc:net-shop/subnet/sub-db",
        "vpc:net-shop/subnet/sub-web6",
        "vpc:net-shop/security_group/sg-web",
        "vpc:net-shop/security_group/sg-db",
        "vpc:net-shop/security_group_rule/rule-http",
        "vpc:net-shop/security_group_rule/rule-out",
        "vpc:net-shop/security_group_rule/rule-sql",
        "vpc:net-shop/neighbor/port-web-1@10.10.1.11",
        "vpc:net-shop/neighbor/port-web-1@fd10::11",
        "vpc:net-shop/neighbor/port-db-1@10.10.2.21",
        "vpc:net-shop/neighbor/port-gw@10.10.1.1",
        "host:node-1/port/port-web-1",
        "host:node-2/port/port-db-1",
        "host:net-node-1/port/port-gw",
        "host:node-1/dhcp/port-web-1@sub-web",
        "host:net-node-1/router/router-1",
        "host:net-node-1/route/router-1@10.200.0.0/16@10.10.1.254",
        "host:net-node-1/route/router-1@10.201.0.0/16@10.10.1.254",
        "host:net-node-1/gateway/router-1@net-public",
        "host:node-1/router/router-2",
        "host:node-2/router/router-2",
        "host:net-node-1/router/router-2",
        "public/eip/fip-1",
    }


def test_what_has_no_place_is_listed(cloud: Imported) -> None:
    """An unbound port, an unused group and a router without hosts are listed with the reason."""
    reasons = {(item.kind, item.id): item.why for item in cloud.unplaced}
    assert set(reasons) == {
        ("port", "port-new"),
        ("security_group", "sg-idle"),
        ("router", "router-3"),
    }
    assert "binding:host_id is empty" in reasons["port", "port-new"]
    assert "no port of this import uses it" in reasons["security_group", "sg-idle"]
    assert "its 1 routes and gateways" in reasons["router", "router-3"]
    assert all("data/neutron" in item.source for item in cloud.unplaced)


def test_revisions(cloud: Imported) -> None:
    """A revision is the object's own, or that of the object which it is part of."""
    found = {key: item.revision for key, item in table(cloud).items()}
    assert found["vpc:net-shop/vpc/net-shop"] == 4
    assert found["host:node-1/port/port-web-1"] == 7
    assert found["vpc:net-shop/neighbor/port-web-1@fd10::11"] == 7
    assert found["vpc:net-shop/security_group_rule/rule-http"] == 2
    assert found["vpc:net-shop/security_group_rule/rule-out"] == 6
    assert found["host:net-node-1/gateway/router-1@net-public"] == 9
    assert found["host:net-node-1/route/router-1@10.200.0.0/16@10.10.1.254"] == 9
    # A DHCP entry depends on its port (7) and its subnet (2): either's change raises the sum.
    assert found["host:node-1/dhcp/port-web-1@sub-web"] == 9


def test_specs_keep_what_the_api_showed(cloud: Imported) -> None:
    """Every field stays, `vpc_id` is added; lists that become resources of their own are lifted out."""
    found = table(cloud)
    port = load("ports.json")["ports"][0]
    assert found["host:node-1/port/port-web-1"].spec == {**port, "vpc_id": "net-shop"}
    group = found["vpc:net-shop/security_group/sg-web"].spec
    assert group == {"id": "sg-web", "name": "web", "revision_number": 6, "vpc_id": "net-shop"}
    rule = found["vpc:net-shop/security_group_rule/rule-out"].spec
    assert (rule["security_group_id"], rule["protocol"], rule["vpc_id"]) == (
        "sg-web",
        None,
        "net-shop",
    )
    assert "routes" not in found["host:net-node-1/router/router-1"].spec
    gateway = found["host:net-node-1/gateway/router-1@net-public"].spec
    assert (gateway["router_id"], gateway["vpc_id"], gateway["enable_snat"]) == (
        "router-1",
        "net-public",
        True,
    )
    eip = load("floatingip.json")["floatingip"]
    assert found["public/eip/fip-1"].spec == {**eip, "vpc_id": "net-shop"}


def test_what_follows_from_a_port(cloud: Imported) -> None:
    """A neighbor says where an address is; a DHCP entry says what a port is told."""
    found = table(cloud)
    assert found["vpc:net-shop/neighbor/port-web-1@10.10.1.11"].spec == {
        "vpc_id": "net-shop",
        "subnet_id": "sub-web",
        "ip_address": "10.10.1.11",
        "mac_address": "fa:16:3e:10:00:01",
        "port_id": "port-web-1",
        "host_id": "node-1",
    }
    assert found["host:node-1/dhcp/port-web-1@sub-web"].spec == {
        "port_id": "port-web-1",
        "vpc_id": "net-shop",
        "subnet_id": "sub-web",
        "mac_address": "fa:16:3e:10:00:01",
        "ipv4_address": "10.10.1.11",
        "cidr": "10.10.1.0/24",
        "gateway_ip": "10.10.1.1",
        "dns_nameservers": ["10.10.0.2"],
        "host_routes": [{"destination": "10.99.0.0/16", "nexthop": "10.10.1.9"}],
        "extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1450"}],
    }


def test_changesets_hold_one_scope_and_keep_their_ids(cloud: Imported) -> None:
    """Each changeset is of one scope, and importing the same again gives the same ids."""
    for changeset in cloud.changesets:
        assert len({item.scope for item in changeset.resources}) == 1
    again = read_files(CLOUD)
    assert [changeset.id for changeset in again.changesets] == [
        changeset.id for changeset in cloud.changesets
    ]


def test_the_order_of_files_does_not_matter(cloud: Imported) -> None:
    """References across files are found whichever file comes first."""
    backwards = read_files(CLOUD[::-1])
    assert {key: item.spec for key, item in table(backwards).items()} == {
        key: item.spec for key, item in table(cloud).items()
    }


def test_options_place_what_documents_do_not() -> None:
    """A named VPC takes unused groups; named hosts take routers without hosts."""
    found = read_files(
        CLOUD, ImportOptions(router_hosts=("edge-1", "edge-2"), security_group_vpc="net-public")
    )
    assert {"vpc:net-public/security_group/sg-idle", "host:edge-2/router/router-3"} <= set(
        table(found)
    )
    assert "host:edge-1/router/router-1" not in table(found)
    assert [item.id for item in found.unplaced] == ["port-new"]


def test_a_cloud_that_counts_from_zero() -> None:
    """Revision 0 is no revision, until an offset makes one of it for the whole import."""
    networks = {"networks": [{"id": "a", "revision_number": 0}, {"id": "b", "revision_number": 1}]}
    plain = imported(networks)
    assert [(item.id, "offset" in item.why) for item in plain.unplaced] == [("a", True)]
    raised = imported(networks, revision_offset=1)
    assert {item.id: item.revision for item in table(raised).values()} == {"a": 1, "b": 2}


@pytest.mark.parametrize("revision", [None, "x", 1.5, True, -1, 2**64])
def test_no_revision_no_place(revision: Any) -> None:
    """Without a revision an object of any kind is listed, with what it has instead."""
    found = imported(
        {
            "network": {"id": "n", "revision_number": revision},
            "subnet": {"id": "s", "network_id": "n", "revision_number": revision},
            "port": {
                "id": "p",
                "network_id": "n",
                "binding:host_id": "h",
                "revision_number": revision,
                "security_groups": ["g"],
            },
            "security_group": {"id": "g", "revision_number": revision},
            "router": {"id": "r", "revision_number": revision},
            "floatingip": {"id": "f", "revision_number": revision},
        },
        router_hosts=("h",),
    )
    assert not found.changesets
    assert {item.id for item in found.unplaced} == {"n", "s", "p", "g", "r", "f"}
    assert all("revision" in item.why for item in found.unplaced)


def test_the_higher_revision_counts() -> None:
    """Of two documents of one object the newer one is taken, whichever comes first."""
    old, new = {"id": "n", "revision_number": 3, "mtu": 1}, {"id": "n", "revision_number": 4}
    for pair in ((old, new), (new, old)):
        (changeset,) = imported(*({"network": item} for item in pair)).changesets
        assert changeset.resources[0].spec == new


def test_views_of_one_revision_are_put_together() -> None:
    """A listing that hides the host, and one that shows it, are one port; a difference is told."""
    shown = {
        "id": "p",
        "network_id": "n",
        "revision_number": 1,
        "binding:host_id": "h",
        "name": "a",
    }
    hidden = {"id": "p", "network_id": "n", "revision_number": 1, "fixed_ips": [], "name": "a"}
    found = imported({"port": hidden}, {"port": shown})
    assert found.changesets[0].resources[0].spec == {**shown, **hidden, "vpc_id": "n"}
    assert not found.warnings
    differing = imported({"port": hidden}, {"port": {**shown, "name": "b"}})
    assert "differ in name" in differing.warnings[0]
    assert "file-0" in differing.warnings[0]


def test_a_rule_that_its_group_no_longer_has_is_not_brought_back() -> None:
    """The rules are those of the newest document of their group."""
    rule = {"id": "r", "security_group_id": "g", "revision_number": 1}
    old = {"security_group": {"id": "g", "revision_number": 1, "security_group_rules": [rule]}}
    new = {"security_group": {"id": "g", "revision_number": 2, "security_group_rules": []}}
    found = imported(old, new, security_group_vpc="v")
    assert set(table(found)) == {"vpc:v/security_group/g"}


def test_a_group_goes_to_every_vpc_that_uses_it() -> None:
    """A project's group that ports of two networks use is placed in both."""
    ports = [
        {
            "id": f"p{n}",
            "network_id": f"n{n}",
            "binding:host_id": "h",
            "revision_number": 1,
            "security_groups": ["g"],
        }
        for n in (1, 2)
    ]
    rule = {"id": "r", "security_group_id": "g", "revision_number": 1}
    group = {"id": "g", "revision_number": 2}
    found = table(
        imported({"ports": ports}, {"security_group_rules": [rule]}, {"security_groups": [group]})
    )
    for vpc in ("n1", "n2"):
        assert found[f"vpc:{vpc}/security_group/g"].spec["vpc_id"] == vpc
        assert found[f"vpc:{vpc}/security_group_rule/r"].revision == 1


def test_several_gateways_of_a_router() -> None:
    """Each gateway is a resource of its own, two in one network too."""
    gateways = [{"network_id": "x"}, {"network_id": "y"}, {"network_id": "x", "enable_snat": False}]
    router = {
        "id": "r",
        "revision_number": 1,
        "external_gateways": gateways,
        "external_gateway_info": gateways[0],
    }
    found = table(imported({"router": router}, router_hosts=("h",)))
    assert {key for key in found if "/gateway/" in key} == {
        "host:h/gateway/r@x",
        "host:h/gateway/r@y",
        "host:h/gateway/r@x@2",
    }


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"mac_address": "nonsense"}, "spec.mac_address: must be a MAC address"),
        ({"fixed_ips": [{"ip_address": "10.0.0.300"}]}, "spec.fixed_ips[0].ip_address"),
        ({"network_id": None}, "has no network_id"),
        ({"binding:host_id": "a\nb"}, "control characters"),
        ({"id": "p" * 300}, "at most 255 bytes"),
    ],
)
def test_what_is_wrong_is_listed_and_stops_nothing(change: dict[str, Any], part: str) -> None:
    """One bad object is listed with every problem; the good ones beside it are imported."""
    ports = copy.deepcopy(load("ports.json"))
    ports["ports"][0].update(change)
    found = imported(ports)
    assert part in found.unplaced[0].why
    assert "host:node-2/port/port-db-1" in table(found)
    assert not any("port-web-1" in key for key in table(found))


def test_documents_that_are_no_resources() -> None:
    """What has no place in Southbound is named, also beside what has."""
    found = imported(
        {
            "networks": [{"id": "n", "revision_number": 1}, "text", {"name": "no id"}],
            "trunks": [{"id": "t"}],
            "flavors": [],
        },
        {"prefixes": ["10.0.0.0/8"]},
        {"networks": [], "networks_links": [{"rel": "next", "href": "..."}]},
    )
    assert [item.kind for item in found.unplaced] == [
        "network",
        "network",
        "trunk",
        "flavors",
        "subnetpool",
    ]
    assert "further page" in found.warnings[0]


def samples(shared_data: Path) -> list[Path]:
    """Return every real sample."""
    return sorted(path for path in (shared_data / "neutron").glob("*/*") if path.is_file())


def test_every_real_sample_goes_through_alone(shared_data: Path) -> None:
    """Each file by itself yields resources, or says why it yields none."""
    assert len(samples(shared_data)) > 50
    for sample in samples(shared_data):
        found = read_files([sample], ImportOptions(router_hosts=("h",), security_group_vpc="v"))
        empty = json.loads(sample.read_text()) if sample.suffix == ".json" else None
        assert found.changesets or found.unplaced, (sample, empty)


def test_all_real_samples_go_through_together(shared_data: Path) -> None:
    """All files as one cloud: each resource is sound and fits its wire key; each reason is given."""
    found = read_files(
        samples(shared_data), ImportOptions(router_hosts=("h",), security_group_vpc="v")
    )
    resources = table(found)
    kinds = {item.kind for item in resources.values()}
    assert kinds == {
        "vpc",
        "subnet",
        "port",
        "neighbor",
        "security_group",
        "security_group_rule",
        "router",
        "route",
        "gateway",
        "eip",
    }
    for item in resources.values():
        assert validate_spec(item.kind, item.spec) == []
        assert decode_key(encode_key(item.key)) == item.key
        assert encode_spec(item.spec)
        assert KINDS[item.kind].cls is item.scope.cls
    assert all(item.why and item.source for item in found.unplaced)
    dumps = [item for item in found.unplaced if item.id.endswith(".txt")]
    assert len(dumps) == 2
    assert all("status" in item.why for item in dumps)


def test_no_object_of_the_real_samples_is_dropped(shared_data: Path) -> None:
    """Every object with an id, in every file, is a resource, part of one, or listed."""
    files = samples(shared_data)
    found = read_files(files, ImportOptions(router_hosts=("h",), security_group_vpc="v"))
    accounted = {item.id for item in table(found).values()} | {item.id for item in found.unplaced}
    for file in files:
        content = json.loads(file.read_text()) if file.suffix == ".json" else {}
        for value in content.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict) and "id" in item:
                    assert item["id"] in accounted, (file, item["id"])


def test_real_ports_go_to_their_hosts(shared_data: Path) -> None:
    """In the real samples `binding:host_id` is the port's host and `network_id` its VPC."""
    found = table(read_files(samples(shared_data)))
    port = found["host:devstack/port/46d4bfb9-b26e-41f3-bd2e-e6dcc1ccedb2"]
    assert port.scope == host_scope("devstack")
    assert port.spec["vpc_id"] == port.spec["network_id"]
    assert f"vpc:{port.spec['vpc_id']}/neighbor/{port.id}@10.0.0.1" in found
    assert {item.scope for item in found.values() if item.scope.cls is ScopeClass.PUBLIC} == {
        PUBLIC_SCOPE
    }

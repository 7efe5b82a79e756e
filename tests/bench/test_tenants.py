from __future__ import annotations

from southbound.bench.tenants import Tenants
from southbound.documents.kinds import validate_spec
from southbound.resources import references


def test_ports_differ_and_are_valid() -> None:
    """Every port has an id, an address and a MAC of its own, and passes the publisher's checks."""
    tenants = Tenants(hosts=30, ports=20, vpcs=4)
    ports = [tenants.port(host, port, 1) for host in range(30) for port in range(20)]
    assert len({port.key for port in ports}) == 600
    assert len({port.spec["mac_address"] for port in ports}) == 600
    assert len({port.spec["fixed_ips"][0]["ip_address"] for port in ports}) == 600
    assert all(not validate_spec(port.kind, port.spec) for port in ports)


def test_a_port_refers_to_its_vpc_alone() -> None:
    """What it waits for is published before it, in the scope of the host's one VPC."""
    tenants = Tenants(hosts=3, vpcs=2)
    port = tenants.port(2, 0, 5)
    assert {ref.scope.id for ref in references(port.key, port.spec)} == {tenants.vpc(2)}
    assert tenants.vpc(0) == tenants.vpc(2) != tenants.vpc(1)
    assert port.scope.id == tenants.ids[2]
    assert port.spec != tenants.port(2, 0, 6).spec

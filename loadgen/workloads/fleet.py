"""A fleet of any size: its hosts, its VPCs, who has a port where, and what each must be told.

The rule: everything follows from an index and the shape's seed in logarithmic time. No host, port or
VPC is an object that stays; a fleet of a million hosts costs as much memory as one of ten.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from loadgen.workloads import specs
from loadgen.workloads.district import District
from loadgen.workloads.sizes import SizeTable, VpcSizes
from loadgen.workloads.spread import Spread
from southbound.errors import ConfigError, Fault
from southbound.resources import Changeset, Resource

HOSTS_MAX = 4_000_000
"""Hosts have addresses in 100.64.0.0/10."""

NEIGHBORS_BATCH = 100
"""Neighbours in one changeset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetShape:
    """What a fleet is made from; two fleets of one shape are the same.

    Of each host's `vms_per_host` VMs, `local_vms` belong to VPCs that live in its AZ alone; the rest
    to VPCs that span the AZs. `together`: how many ports of a VPC stand on one host. `groups_max`: the
    most security groups of a VPC (small VPCs have one), each with `rules` rules. `neighbors_max`: VPCs
    of at most so many ports tell each host of every neighbour; larger ones leave that to gateways.
    `dhcp`: a host's changeset carries a dhcp resource for each of its ports.
    """

    hosts: int
    vms_per_host: int = 20
    azs: tuple[str, ...] = ("az-1", "az-2", "az-3")
    seed: int = 1
    sizes: VpcSizes = field(default_factory=VpcSizes)
    local_vms: int = 0
    together: int = 1
    groups_max: int = 5
    rules: int = 4
    neighbors_max: int = 1_000
    dhcp: bool = False

    def __post_init__(self) -> None:
        spanning = self.vms_per_host - self.local_vms
        checks = (
            ("hosts", self.hosts, 1 <= self.hosts <= HOSTS_MAX, f"must be 1 to {HOSTS_MAX}"),
            ("vms_per_host", self.vms_per_host, self.vms_per_host >= 1, "must be at least 1"),
            ("azs", self.azs, 1 <= len(self.azs) <= self.hosts, "must be 1 to as many as hosts"),
            ("azs", self.azs, len(set(self.azs)) == len(self.azs), "must not repeat"),
            ("local_vms", self.local_vms, self.local_vms >= 0, "must not be negative"),
            ("local_vms", self.local_vms, spanning >= 0, "must not be above vms_per_host"),
            ("together", self.together, self.together >= 1, "must be at least 1"),
            ("groups_max", self.groups_max, self.groups_max >= 1, "must be at least 1"),
            ("rules", self.rules, self.rules >= 0, "must not be negative"),
            ("neighbors_max", self.neighbors_max, self.neighbors_max >= 0, "must not be negative"),
        )
        faults = [Fault(name, value, problem) for name, value, good, problem in checks if not good]
        if not faults and (self.local_vms % self.together or spanning % self.together):
            problem = "must divide local_vms and the rest of vms_per_host"
            faults.append(Fault("together", self.together, problem))
        if faults:
            raise ConfigError("no such fleet", faults)


class PortOf(NamedTuple):
    """One port: `number` is its host's index * vms_per_host + its VM's number.

    `ordinal`: which of the VPC's ports it is, from 0; its address in the VPC follows from that.
    """

    number: int
    vpc: int
    ordinal: int

    @property
    def id(self) -> str:
        """Its id, such as `p0000000840`."""
        return specs.port_id(self.number)

    @property
    def address(self) -> str:
        """Its address in the VPC."""
        return specs.address(self.ordinal)


class Fleet:
    """All that follows from a shape. Indices: hosts 0 <= i < hosts, VPCs 0 <= j < vpcs."""

    __slots__ = ("_az_count", "_districts", "_firsts", "_local", "hosts", "shape", "vpcs")

    def __init__(self, shape: FleetShape) -> None:
        self.shape = shape
        self.hosts = shape.hosts
        self._az_count = len(shape.azs)
        self._local = shape.local_vms > 0
        areas: list[tuple[range, range]] = []
        if self._local:
            areas += [(self.az_hosts(az), range(shape.local_vms)) for az in shape.azs]
        if shape.local_vms < shape.vms_per_host:
            areas.append((range(shape.hosts), range(shape.local_vms, shape.vms_per_host)))
        self._districts: list[District] = []
        self.vpcs = 0
        for number, (hosts, vms) in enumerate(areas):
            columns = len(vms) // shape.together
            table = SizeTable(shape.sizes, len(hosts) * len(vms))
            spread = Spread(len(hosts), columns, shape.seed * 1009 + number)
            self._districts.append(District(hosts, vms, shape.together, self.vpcs, table, spread))
            self.vpcs += table.count
        self._firsts = [district.first_vpc for district in self._districts]

    @property
    def port_count(self) -> int:
        """Ports of the whole fleet."""
        return self.hosts * self.shape.vms_per_host

    def host(self, i: int) -> str:
        """Return a host's id."""
        return specs.host_id(i)

    def index_of(self, host: str) -> int:
        """Return a host's index. Raises `ConfigError` for an id that is not of this fleet."""
        digits = host[1:]
        i = int(digits) if digits.isdecimal() else -1
        if not 0 <= i < self.hosts or specs.host_id(i) != host:
            raise ConfigError("no such host", [Fault("host", host, "must be one of this fleet")])
        return i

    def az(self, i: int) -> str:
        """Return a host's AZ; an AZ's hosts stand next to each other."""
        return self.shape.azs[i * self._az_count // self.hosts]

    def az_hosts(self, az: str) -> range:
        """Return the indices of an AZ's hosts."""
        number = self.shape.azs.index(az)
        first, end = (-(-at * self.hosts // self._az_count) for at in (number, number + 1))
        return range(first, end)

    def vpc(self, j: int) -> str:
        """Return a VPC's id."""
        return specs.vpc_id(j)

    def vpc_index_of(self, vpc: str) -> int:
        """Return a VPC's index. Raises `ConfigError` for an id that is not of this fleet."""
        digits = vpc[1:]
        j = int(digits) if digits.isdecimal() else -1
        if not 0 <= j < self.vpcs or specs.vpc_id(j) != vpc:
            raise ConfigError("no such VPC", [Fault("vpc", vpc, "must be one of this fleet")])
        return j

    def vpc_ports(self, j: int) -> int:
        """Return how many ports a VPC has."""
        district, rank = self._district(j)
        return district.table.size(rank)

    def vpc_near(self, ports: int) -> int:
        """Return the VPC whose size is nearest to `ports`."""
        found = (at.first_vpc + at.table.nearest(ports) for at in self._districts)
        return min(found, key=lambda j: abs(self.vpc_ports(j) - ports))

    def vpc_hosts(self, j: int) -> Iterator[int]:
        """Yield the index of every host that has a port in a VPC, once."""
        district, rank = self._district(j)
        return district.hosts_of(rank)

    def vpc_port(self, j: int, ordinal: int) -> PortOf:
        """Return one of a VPC's ports, 0 <= ordinal < its size."""
        district, rank = self._district(j)
        assert 0 <= ordinal < district.table.size(rank), "no such port of the VPC"
        host, vm = district.place(rank, ordinal)
        return PortOf(host * self.shape.vms_per_host + vm, j, ordinal)

    def ports(self, i: int) -> Sequence[PortOf]:
        """Return a host's ports, by number."""
        first = i * self.shape.vms_per_host
        return [
            PortOf(first + vm, vpc, ordinal)
            for district in self._of_host(i)
            for vm, vpc, ordinal in district.at(i)
        ]

    def host_vpcs(self, i: int) -> tuple[int, ...]:
        """Return the VPCs that a host has ports in, each once, rising."""
        districts = self._of_host(i)
        return tuple(sorted({vpc for district in districts for _, vpc, _ in district.at(i)}))

    def host_of(self, number: int) -> int:
        """Return the host of a port's number."""
        return number // self.shape.vms_per_host

    def groups(self, j: int) -> int:
        """Return how many security groups a VPC has: one, and more with each factor of ten."""
        return min(self.shape.groups_max, len(str(self.vpc_ports(j))))

    def port(self, port: PortOf, revision: int) -> Resource:
        """Return a port's resource."""
        host = self.host_of(port.number)
        return specs.port(host, port.number, port.vpc, port.ordinal, self._group(port), revision)

    def dhcp(self, port: PortOf, revision: int) -> Resource:
        """Return what a port's host answers it by DHCP."""
        return specs.dhcp(self.host_of(port.number), port.number, port.vpc, port.ordinal, revision)

    def neighbor(self, port: PortOf, revision: int) -> Resource:
        """Return where a port is, for every host of its VPC."""
        return specs.neighbor(
            self.host_of(port.number), port.number, port.vpc, port.ordinal, revision
        )

    def has_neighbors(self, j: int) -> bool:
        """Whether each host of a VPC is told of every port in it."""
        return self.vpc_ports(j) <= self.shape.neighbors_max

    def rule(self, j: int, group: int, number: int, revision: int) -> Resource:
        """Return one rule of one of a VPC's security groups."""
        return specs.rule(j, group, number, revision)

    def host_changeset(self, i: int, revision: int, ports: range | None = None) -> Changeset:
        """Return what a host itself must be told: its ports, or those of the named VM numbers."""
        every = self.ports(i)
        chosen = every if ports is None else [every[vm] for vm in ports]
        resources = [self.port(port, revision) for port in chosen]
        if self.shape.dhcp:
            resources += [self.dhcp(port, revision) for port in chosen]
        part = "" if ports is None else f"-{ports.start}-{ports.stop}"
        return Changeset(f"{specs.host_id(i)}-r{revision}{part}", tuple(resources))

    def vpc_changeset(self, j: int, revision: int) -> Changeset:
        """Return what every host of a VPC must be told: the VPC, its subnets, groups and rules."""
        resources = [specs.vpc(j, revision)]
        subnets = specs.subnet_of(self.vpc_ports(j) - 1) + 1
        resources += [specs.subnet(j, number, revision) for number in range(subnets)]
        for group in range(self.groups(j)):
            resources.append(specs.group(j, group, revision))
            resources += [specs.rule(j, group, at, revision) for at in range(self.shape.rules)]
        return Changeset(f"{specs.vpc_id(j)}-r{revision}", tuple(resources))

    def neighbor_changesets(
        self, j: int, revision: int, batch: int = NEIGHBORS_BATCH
    ) -> Iterator[Changeset]:
        """Yield all ports of a VPC as its neighbours, so many in a changeset; also of a large VPC."""
        ports = self.vpc_ports(j)
        for first in range(0, ports, batch):
            end = min(ports, first + batch)
            told = (self.neighbor(self.vpc_port(j, at), revision) for at in range(first, end))
            yield Changeset(f"{specs.vpc_id(j)}-n{first}-r{revision}", tuple(told))

    def _group(self, port: PortOf) -> int:
        return port.ordinal % self.groups(port.vpc)

    def _district(self, j: int) -> tuple[District, int]:
        assert 0 <= j < self.vpcs, "no such VPC"
        district = self._districts[bisect_right(self._firsts, j) - 1]
        return district, j - district.first_vpc

    def _of_host(self, i: int) -> Iterator[District]:
        assert 0 <= i < self.hosts, "no such host"
        if self._local:
            yield self._districts[i * self._az_count // self.hosts]
        if not self._local or len(self._districts) > self._az_count:
            yield self._districts[-1]

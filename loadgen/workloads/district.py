"""A part of the fleet whose VPCs keep to it: some slots of all hosts of one AZ, or of every AZ.

The rule: VPCs never cross districts, so an AZ's own VPCs live in it alone, and the rest of each host
belongs to VPCs that span the fleet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from loadgen.workloads.sizes import SizeTable
from loadgen.workloads.spread import Spread


class District(NamedTuple):
    """Hosts and, of each, some VMs; with the VPCs that share them.

    `first_vpc`: the fleet's index of the VPC of rank 0. `together`: ports of one VPC that stand on
    one host, as far as the VPC has so many left.
    """

    hosts: range
    vms: range
    together: int
    first_vpc: int
    table: SizeTable
    spread: Spread

    def at(self, host: int) -> Iterator[tuple[int, int, int]]:
        """Yield (VM number, VPC index, which of the VPC's ports it is) for each of a host's VMs here."""
        vm = self.vms.start
        for column in range(len(self.vms) // self.together):
            block = self.spread.position(host - self.hosts.start, column) * self.together
            for position in range(block, block + self.together):
                rank, ordinal = self.table.find(position)
                yield vm, self.first_vpc + rank, ordinal
                vm += 1

    def place(self, rank: int, ordinal: int) -> tuple[int, int]:
        """Return the host and the VM number of one port of a VPC."""
        block, within = divmod(self.table.first(rank) + ordinal, self.together)
        host, column = self.spread.place(block)
        return self.hosts.start + host, self.vms.start + column * self.together + within

    def hosts_of(self, rank: int) -> Iterator[int]:
        """Yield each host of a VPC once; costs memory in proportion to the VPC."""
        first = self.table.first(rank)
        last = first + self.table.size(rank) - 1
        seen = set[int]()
        for block in range(first // self.together, last // self.together + 1):
            host = self.hosts.start + self.spread.place(block)[0]
            if host not in seen:
                seen.add(host)
                yield host

"""Churn of public resources: load balancers, NAT gateways and eips come, change and go.

The rule: each resource lives through create, change and delete in turn, a revision each; the kinds
take turns too, so every group of workers has its share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from loadgen.workloads import specs
from loadgen.workloads.fleet import Fleet
from loadgen.workloads.steps import SECOND_US, Step
from southbound.resources import PUBLIC_SCOPE, Changeset, Op, Resource

_LIVES = 3
_KINDS = ("elb", "nat_gateway", "eip")
_MEMBERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Publics:
    """`count` resources in all, `rate` changes of them a second for `seconds`."""

    name: ClassVar[str] = "publics"
    count: int = 3_000
    rate: float = 100.0
    seconds: float = 60.0
    revision: int = 1

    def steps(self, fleet: Fleet) -> Iterator[Step]:
        """Yield the changes, one resource each."""
        for number in range(int(self.rate * self.seconds)):
            around, which = divmod(number, self.count)
            resource = _resource(fleet, which, self.revision + around, around % _LIVES)
            changeset = Changeset(f"{resource.id}-r{resource.revision}", (resource,))
            yield Step(round(number * SECOND_US / self.rate), changeset)


def _resource(fleet: Fleet, which: int, revision: int, life: int) -> Resource:
    kind = _KINDS[which % len(_KINDS)]
    id = f"{kind}-{which:06d}"
    if life == _LIVES - 1:
        return Resource(PUBLIC_SCOPE, kind, id, revision, {}, Op.DELETE)
    return Resource(PUBLIC_SCOPE, kind, id, revision, _spec(fleet, kind, which, revision))


def _spec(fleet: Fleet, kind: str, which: int, revision: int) -> dict[str, Any]:
    j = which % fleet.vpcs
    public = specs.public_address(which)
    subnet = specs.subnet_id(j, 0)
    if kind == "elb":
        listener = {"protocol": "TCP", "protocol_port": 443}
        first = revision * _MEMBERS
        members = [
            {"address": specs.address((first + at) % 1_000), "protocol_port": 8443, "weight": 1}
            for at in range(_MEMBERS)
        ]
        return {
            "vpc_id": fleet.vpc(j),
            "vip_address": public,
            "listeners": [listener],
            "members": members,
        }
    if kind == "nat_gateway":
        name = f"nat {revision}"
        external = [{"ip_address": public}]
        return {
            "name": name,
            "vpc_id": fleet.vpc(j),
            "subnet_ids": [subnet],
            "external_fixed_ips": external,
        }
    inside = fleet.vpc_port(j, revision % fleet.vpc_ports(j))
    return {
        "floating_ip_address": public,
        "vpc_id": fleet.vpc(j),
        "port_id": inside.id,
        "fixed_ip_address": inside.address,
    }

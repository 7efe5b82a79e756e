"""The known kinds, each with the model of its spec, and the check that publishers make.

The rule: `validate_spec` only judges; the spec is published as it was given. Kinds that Southbound
does not know are carried unjudged. The check runs for every resource of a bulk, so the models run
natively, without a Python call for a port's fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from southbound.documents.findings import faults_of
from southbound.documents.host_kinds import Dhcp, Gateway, Port, Route, Router
from southbound.documents.public_kinds import Eip, Elb, NatGateway
from southbound.documents.spec import Spec
from southbound.documents.vpc_kinds import Neighbor, SecurityGroup, SecurityGroupRule, Subnet, Vpc
from southbound.errors import Fault

MODELS: Mapping[str, type[Spec]] = {
    "vpc": Vpc,
    "subnet": Subnet,
    "port": Port,
    "neighbor": Neighbor,
    "security_group": SecurityGroup,
    "security_group_rule": SecurityGroupRule,
    "dhcp": Dhcp,
    "router": Router,
    "route": Route,
    "gateway": Gateway,
    "elb": Elb,
    "nat_gateway": NatGateway,
    "eip": Eip,
}

# What a model keeps besides its fields is of no use to a judge, and costs as much as judging.
_JUDGES = {
    kind: partial(TypeAdapter(model).validator.validate_python, extra="ignore")
    for kind, model in MODELS.items()
}


def validate_spec(kind: str, spec: Mapping[str, Any], path: str = "spec") -> list[Fault]:
    """Return what is wrong with a spec, each fault's place below `path`; empty when it is good.

    A delete's spec is empty and not to be judged. A spec of an unknown kind is always good.
    """
    judge = _JUDGES.get(kind)
    if judge is None:
        return []
    try:
        judge(spec if type(spec) is dict else dict(spec))
    except ValidationError as error:
        return faults_of(error, path)
    return []

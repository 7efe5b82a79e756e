"""The known kinds, each with the model of its spec, and the check that publishers make.

The rule: `validate_spec` only judges; the spec is published as it was given. Kinds that Southbound
does not know are carried unjudged. The check runs for every resource of a bulk, so the models run
natively, without a Python call for a port's fields, and nearly all are judged without an instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from southbound.documents.findings import faults_of
from southbound.documents.host_kinds import Dhcp, Gateway, Port, Route, Router
from southbound.documents.judges import fields_judge, model_judge
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

_MODEL_JUDGES = {kind: model_judge(model) for kind, model in MODELS.items()}
_JUDGES = {kind: fields_judge(model) or _MODEL_JUDGES[kind] for kind, model in MODELS.items()}


def validate_spec(kind: str, spec: Mapping[str, Any], path: str = "spec") -> list[Fault]:
    """Return what is wrong with a spec, each fault's place below `path`; empty when it is good.

    A delete's spec is empty and not to be judged. A spec of an unknown kind is always good.
    """
    judge = _JUDGES.get(kind)
    if judge is None:
        return []
    plain = spec if type(spec) is dict else dict(spec)
    try:
        judge(plain)
    except ValidationError:
        return _faults(kind, plain, path)
    return []


def _faults(kind: str, spec: dict[str, Any], path: str) -> list[Fault]:
    try:
        _MODEL_JUDGES[kind](spec)
    except ValidationError as error:
        return faults_of(error, path)
    return []

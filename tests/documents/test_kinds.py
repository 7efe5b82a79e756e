"""Judging specs."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from southbound.documents.judges import Judge, fields_judge, model_judge
from southbound.documents.kinds import MODELS, validate_spec
from southbound.resources import KINDS

PORT: dict[str, Any] = {
    "vpc_id": "vpc-1",
    "mac_address": "fa:16:3e:00:00:01",
    "fixed_ips": [{"subnet_id": "subnet-1", "ip_address": "10.0.0.5"}, {"ip_address": "fd00::5"}],
    "allowed_address_pairs": [{"ip_address": "10.9.0.0/16"}],
    "security_groups": ["sg-1"],
    "binding:profile": {"anything": [1, 2.5, None]},
}

GOOD: dict[str, dict[str, Any]] = {
    "vpc": {"cidr": "10.0.0.0/16", "mtu": 1450, "name": "net"},
    "subnet": {"vpc_id": "v", "cidr": "fd00::/64", "ip_version": 6, "gateway_ip": None},
    "port": PORT,
    "neighbor": {"vpc_id": "v", "ip_address": "10.0.0.5", "mac_address": "fa:16:3e:00:00:01"},
    "security_group": {"name": "web", "stateful": True},
    "security_group_rule": {
        "security_group_id": "g",
        "direction": "ingress",
        "protocol": 6,
        "port_range_min": None,
    },
    "dhcp": {"port_id": "p", "ipv4_address": "10.0.0.5", "dns_nameservers": ["10.0.0.2"]},
    "router": {"name": "r", "distributed": False},
    "route": {"router_id": "r", "destination": "0.0.0.0/0", "nexthop": "10.0.0.1"},
    "gateway": {"router_id": "r", "external_fixed_ips": [{"ip_address": "192.0.2.7"}]},
    "elb": {"vip_address": "10.0.0.9", "listeners": [{"protocol": "TCP", "protocol_port": 443}]},
    "nat_gateway": {"subnet_ids": ["s"]},
    "eip": {"floating_ip_address": "192.0.2.8", "port_id": None},
}


def test_every_known_kind_has_a_model() -> None:
    """The models are of the kinds that the project knows, no more and no fewer."""
    assert set(MODELS) == set(KINDS)


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_good_specs(kind: str) -> None:
    """A usual spec of each kind has no faults."""
    assert validate_spec(kind, GOOD[kind]) == []


@pytest.mark.parametrize(
    ("kind", "field", "value", "place"),
    [
        ("vpc", "cidr", "10.0.0.0", "spec.cidr"),
        ("vpc", "cidr", "10.0.0.1/16", "spec.cidr"),
        ("vpc", "mtu", "1500", "spec.mtu"),
        ("subnet", "cidr", None, "spec.cidr"),
        ("subnet", "cidr", "fd00::1/64", "spec.cidr"),
        ("subnet", "ip_version", 5, "spec.ip_version"),
        ("subnet", "allocation_pools", [{"start": "10.0.0.1"}], "spec.allocation_pools[0].end"),
        ("port", "vpc_id", "", "spec.vpc_id"),
        ("port", "mac_address", "nonsense", "spec.mac_address"),
        ("port", "fixed_ips", [{"ip_address": "10.0.0.300"}], "spec.fixed_ips[0].ip_address"),
        ("port", "fixed_ips", {"ip_address": "10.0.0.3"}, "spec.fixed_ips"),
        ("port", "security_groups", ["a", 3], "spec.security_groups[1]"),
        ("port", "admin_state_up", "yes", "spec.admin_state_up"),
        ("neighbor", "ip_address", None, "spec"),
        ("security_group_rule", "direction", "INGRESS", "spec.direction"),
        ("security_group_rule", "remote_ip_prefix", "10.0.0.0/33", "spec.remote_ip_prefix"),
        ("security_group_rule", "port_range_max", 65_536, "spec.port_range_max"),
        ("route", "destination", "default", "spec.destination"),
        ("elb", "listeners", [{"protocol": "TCP"}], "spec.listeners[0].protocol_port"),
        ("eip", "floating_ip_address", "192.0.2.0/24", "spec.floating_ip_address"),
    ],
)
def test_faults_name_the_field_and_the_value(kind: str, field: str, value: Any, place: str) -> None:
    """A wrong field gives one fault, at its place."""
    faults = validate_spec(kind, {**GOOD[kind], field: value})
    assert [fault.place for fault in faults] == [place]


def test_messages_are_for_people() -> None:
    """A fault says what the field must be, and shows neither a pattern nor a class."""
    (fault,) = validate_spec("port", {**PORT, "mac_address": "x"}, "resources[2].spec")
    assert str(fault) == (
        "resources[2].spec.mac_address: must be a MAC address, such as fa:16:3e:00:00:01 (got 'x')"
    )
    (missing,) = validate_spec("port", {})
    assert (missing.place, missing.value, missing.problem) == ("spec.vpc_id", None, "is required")


def test_all_faults_of_a_spec_are_found() -> None:
    """One bad field hides no other."""
    spec = {
        "vpc_id": 1,
        "mac_address": "x",
        "fixed_ips": [{"ip_address": "y"}, {"ip_address": "z"}],
    }
    assert len(validate_spec("port", spec)) == 4


def test_judging_alters_nothing() -> None:
    """A spec is the same object with the same content afterwards, unknown fields and all."""
    before = copy.deepcopy(PORT)
    assert validate_spec("port", PORT) == []
    assert before == PORT


def test_any_mapping_and_any_sequence_will_do() -> None:
    """Programs may hand in read-only mappings and tuples."""
    spec = MappingProxyType({"vpc_id": "v", "security_groups": ("a", "b")})
    assert validate_spec("port", spec) == []


def test_unknown_kinds_are_not_judged() -> None:
    """What Southbound does not know it carries."""
    assert validate_spec("flow_log", {"cidr": "nonsense"}) == []


def test_models_keep_unknown_fields() -> None:
    """Whoever uses a model itself finds every field in it again."""
    model = MODELS["port"].model_validate(PORT)
    assert model.model_dump(exclude_unset=True) == PORT


@given(
    st.sampled_from(sorted(MODELS)),
    st.dictionaries(
        st.sampled_from(
            sorted({field for model in MODELS.values() for field in model.model_fields})
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=6,
    ),
)
def test_any_spec_is_judged(kind: str, spec: dict[str, Any]) -> None:
    """Whatever a spec holds, judging it gives faults that can be shown, and raises nothing."""
    assert all(str(fault).startswith("spec") for fault in validate_spec(kind, spec))


@given(
    st.sampled_from(sorted(GOOD)),
    st.dictionaries(
        st.sampled_from(
            sorted({field for model in MODELS.values() for field in model.model_fields})
        ),
        st.none()
        | st.booleans()
        | st.integers(-1, 70_000)
        | st.sampled_from(
            ["10.0.0.1", "10.0.0.0/24", "fd00::/8", "ingress", "IPv4", "1500", "", "x"]
        )
        | st.lists(
            st.sampled_from(
                ["10.0.0.1", {"ip_address": "10.0.0.1"}, {"ip_address": "y"}, {}, 3, None]
            ),
            max_size=2,
        ),
        max_size=3,
    ),
)
def test_a_judge_of_fields_says_what_the_model_says(kind: str, changed: dict[str, Any]) -> None:
    """What is accepted without an instance is what makes one, no more and no less."""
    judge = fields_judge(MODELS[kind])
    spec = {**GOOD[kind], **changed}
    assert judge is None or _takes(judge, spec) == _takes(model_judge(MODELS[kind]), spec)


def _takes(judge: Judge, spec: dict[str, Any]) -> bool:
    try:
        judge(spec)
    except ValidationError:
        return False
    return True


def test_only_a_rule_over_a_whole_spec_needs_an_instance() -> None:
    """Every kind but the one with such a rule is judged by its fields."""
    assert [kind for kind, model in MODELS.items() if fields_judge(model) is None] == ["neighbor"]

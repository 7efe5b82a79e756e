"""Importing Alcor's goal states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.documents.alcor import kind_of_type, op_of, snake
from southbound.documents.document import Document
from southbound.documents.goalstate import import_goalstate
from southbound.documents.imported import Imported
from southbound.documents.options import ImportOptions
from southbound.documents.reading import read_files
from southbound.resources import Op, Resource

FILE = Path(__file__).parent / "data" / "goalstate.json"


def table(imported: Imported) -> dict[str, Resource]:
    """Return the resources of an import by `scope/kind/id`."""
    return {
        str(item.key): item for changeset in imported.changesets for item in changeset.resources
    }


def imported(value: Any, **options: Any) -> Imported:
    """Import a goal state that is given as data."""
    return import_goalstate(Document("file", value), ImportOptions(**options))


@pytest.fixture
def goal() -> Imported:
    """Return the hand-written goal state, read from its file."""
    return read_files([FILE])


def snaked(value: Any) -> Any:
    """Return a goal state as protobuf writes it when it keeps its own names."""
    if isinstance(value, dict):
        return {snake(name): snaked(item) for name, item in value.items()}
    return [snaked(item) for item in value] if isinstance(value, list) else value


def test_everything_has_its_place(goal: Imported) -> None:
    """Host kinds go where the index says, VPC kinds to their VPC, sets one by one."""
    assert {key: item.op for key, item in table(goal).items()} == {
        "vpc:vpc-1/vpc/vpc-1": Op.UPSERT,
        "vpc:vpc-1/subnet/subnet-1": Op.UPSERT,
        "vpc:vpc-1/neighbor/L2/port-2": Op.UPSERT,
        "vpc:vpc-1/security_group/sg-1": Op.UPSERT,
        "vpc:vpc-1/security_group_rule/rule-in": Op.UPSERT,
        "vpc:vpc-1/security_group_rule/rule-old": Op.DELETE,
        "vpc:vpc-1/security_group_rule/rule-any": Op.UPSERT,
        "host:172.16.0.1/port/port-1": Op.UPSERT,
        "host:172.16.0.2/port/port-2": Op.DELETE,
        "host:172.16.0.1/dhcp/dhcp-1": Op.UPSERT,
        "host:172.16.0.1/router/router-1": Op.UPSERT,
        "host:172.16.0.2/router/router-1": Op.UPSERT,
        "host:172.16.0.1/route/route-1": Op.UPSERT,
        "host:172.16.0.2/route/route-1": Op.UPSERT,
        "host:172.16.0.1/route/router-1@subnet-1@10.0.3.0/24": Op.DELETE,
        "host:172.16.0.2/route/router-1@subnet-1@10.0.3.0/24": Op.DELETE,
    }


def test_what_has_no_place_is_listed(goal: Imported) -> None:
    """A question, a gateway of no host, a neighbor of no VPC and a lost port are listed."""
    reasons = {(item.kind, item.id): item.why for item in goal.unplaced}
    assert set(reasons) == {
        ("gateway", "gateway-1"),
        ("gateway", "gateway-2"),
        ("neighbor", "L3/port-9"),
        ("port", "port-lost"),
    }
    assert "changes nothing" in reasons["gateway", "gateway-1"]
    assert "no host_resources" in reasons["gateway", "gateway-2"]
    assert "no map holds its state" in reasons["port", "port-lost"]
    assert "full update" in goal.warnings[0]


def test_specs_speak_both_languages(goal: Imported) -> None:
    """Alcor's fields are kept under protobuf's names, and the Networking API's are added."""
    found = table(goal)
    subnet = found["vpc:vpc-1/subnet/subnet-1"].spec
    assert (subnet["gateway"]["ip_address"], subnet["gateway_ip"]) == ("10.0.1.1", "10.0.1.1")
    assert (subnet["enable_dhcp"], subnet["dns_nameservers"], subnet["tunnel_id"]) == (
        True,
        ["10.0.0.2"],
        "21",
    )
    port = found["host:172.16.0.1/port/port-1"].spec
    assert port["vpc_id"] == "vpc-1"
    assert port["security_groups"] == ["sg-1"]
    assert port["security_group_ids"] == [{"id": "sg-1"}]
    assert port["allowed_address_pairs"] == [{"ip_address": "10.0.1.99"}]
    neighbor = found["vpc:vpc-1/neighbor/L2/port-2"].spec
    assert (neighbor["ip_address"], neighbor["subnet_id"]) == ("10.0.1.12", "subnet-1")
    route = found["host:172.16.0.1/route/route-1"].spec
    assert (route["router_id"], route["subnet_id"], route["nexthop"]) == (
        "router-1",
        "subnet-1",
        "10.0.1.1",
    )
    assert "subnet_routing_tables" not in found["host:172.16.0.1/router/router-1"].spec
    assert "name" not in found["vpc:vpc-1/vpc/vpc-1"].spec


def test_absent_fields_have_their_defaults(goal: Imported) -> None:
    """What JSON leaves out is protobuf's default: egress, IPv4, tcp, INFO, VPC."""
    found = table(goal)
    inward = found["vpc:vpc-1/security_group_rule/rule-in"].spec
    assert (inward["direction"], inward["ethertype"], inward["protocol"]) == (
        "ingress",
        "IPv4",
        "tcp",
    )
    assert (inward["port_range_min"], inward["security_group_id"], inward["vpc_id"]) == (
        443,
        "sg-1",
        "vpc-1",
    )
    anything = found["vpc:vpc-1/security_group_rule/rule-any"].spec
    assert (anything["direction"], anything["ethertype"], anything["protocol"]) == (
        "egress",
        "IPv6",
        "icmp",
    )
    assert "port_range_min" not in anything


def test_revisions_and_their_offset(goal: Imported) -> None:
    """A part has the revision of its whole; an offset raises all of them alike."""
    plain = {key: item.revision for key, item in table(goal).items()}
    assert plain["vpc:vpc-1/security_group_rule/rule-in"] == 8
    assert plain["host:172.16.0.2/port/port-2"] == 6
    raised = table(read_files([FILE], ImportOptions(revision_offset=1000)))
    assert {key: item.revision - 1000 for key, item in raised.items()} == plain


def test_both_spellings_are_one() -> None:
    """Names in camel case and in protobuf's own case give the same import."""
    value = json.loads(FILE.read_text())
    kept = {snake(name): item for name, item in value.items()}
    assert table(imported(value)) == table(imported(kept))
    maps = {
        name: {id: snaked(state) for id, state in item.items()}
        for name, item in kept.items()
        if isinstance(item, dict)
    }
    assert table(imported(maps)) == table(imported(value))


def test_a_group_that_names_no_vpc() -> None:
    """It goes where its ports are, else where the option says, else it is listed."""
    group = {"security_group_states": {"g": {"configuration": {"revision_number": 1}}}}
    port = {
        "configuration": {"revision_number": 1, "vpc_id": "v1", "security_group_ids": [{"id": "g"}]}
    }
    assert set(table(imported({**group, "port_states": {"p": port}}))) == {
        "vpc:v1/security_group/g"
    }
    assert set(table(imported(group, security_group_vpc="v2"))) == {"vpc:v2/security_group/g"}
    assert imported(group).unplaced[0].why.startswith("names no VPC")


def test_a_whole_that_goes_takes_its_parts_along() -> None:
    """Deleting a group deletes the rules that it names."""
    configuration = {
        "revision_number": 2,
        "vpc_id": "v",
        "security_group_rules": [{"id": "r", "operation_type": "INFO"}],
    }
    state = {"operation_type": "DELETE", "configuration": configuration}
    found = table(imported({"security_group_states": {"g": state}}))
    assert {key: (item.op, item.spec) for key, item in found.items()} == {
        "vpc:v/security_group/g": (Op.DELETE, {}),
        "vpc:v/security_group_rule/r": (Op.DELETE, {}),
    }


def test_revisions_that_are_none() -> None:
    """An absent revision is protobuf's 0, and that is none."""
    found = imported(
        {
            "vpc_states": {
                "a": {"configuration": {}},
                "b": {"configuration": {"revision_number": "x"}},
                "c": {},
            }
        }
    )
    assert [item.id for item in found.unplaced] == ["a", "b", "c"]


def test_the_older_goal_state_is_named_as_such() -> None:
    """Lists instead of maps tell no hosts."""
    found = imported({"port_states": [{"configuration": {}}]})
    assert "GoalStateV2" in found.unplaced[0].why


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("SECURITYGROUP", "security_group"),
        ("SECURITY_GROUP", "security_group"),
        (0, "vpc"),
        (7, "gateway"),
        (8, None),
        ("X", None),
        (True, None),
    ],
)
def test_types(word: Any, kind: str | None) -> None:
    """A resource's type is a word or a number."""
    assert kind_of_type(word) == kind


@pytest.mark.parametrize(
    ("word", "op"),
    [
        ("INFO", Op.UPSERT),
        ("CREATE", Op.UPSERT),
        (2, Op.UPSERT),
        ("NEIGHBOR_CREATE_UPDATE", Op.UPSERT),
        ("NEIGHBOR_DELETE", Op.DELETE),
        (4, Op.DELETE),
        ("GET", None),
        (3, None),
        (9, None),
        ("FINALIZE", None),
    ],
)
def test_operations(word: Any, op: Op | None) -> None:
    """An operation is a word or a number, of this schema or an older one."""
    assert op_of(word) == op


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "configuration",
                    "operation_type",
                    "revision_number",
                    "vpc_id",
                    "id",
                    "resources",
                    "type",
                    "fixed_ips",
                    "security_group_rules",
                    "security_group_ids",
                    "subnet_routing_tables",
                    "routing_rules",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
_MAPS = st.dictionaries(st.text(max_size=3), _JSON, max_size=3) | _JSON


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            (
                "host_resources",
                "vpc_states",
                "port_states",
                "neighbor_states",
                "security_group_states",
                "router_states",
            ),
            _MAPS,
        ),
    )
)
def test_any_goal_state_is_accounted_for(value: dict[str, Any]) -> None:
    """Whatever the maps hold, every state of theirs is a resource or is listed."""
    found = imported(value)
    accounted = {item.id for item in table(found).values()} | {item.id for item in found.unplaced}
    for name, states in value.items():
        if name != "host_resources" and isinstance(states, dict):
            assert set(states) <= accounted

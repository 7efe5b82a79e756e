"""Security groups of the Networking API and their rules.

The rule: there a group belongs to a project, here to the VPCs whose hosts need it: those of the
ports of the same import that refer to it, else the one named by option. Its rules go where it goes,
each as a resource of its own.
"""

from __future__ import annotations

from southbound.documents.neutron_ports import network_of
from southbound.documents.neutron_tables import GROUP, PORT, RULE, Item, Tables
from southbound.documents.placing import Placing
from southbound.resources import Resource, vpc_scope


def place_groups(tables: Tables, placing: Placing, fallback_vpc: str | None) -> None:
    """Put every group and rule into each VPC that needs it."""
    users = _users(tables)
    _lift_rules(tables)
    for item in (*tables.of(GROUP).values(), *tables.of(RULE).values()):
        group = item.id if item.kind == GROUP else str(item.fields.get("security_group_id"))
        vpcs = list(users.get(group, ())) or ([fallback_vpc] if fallback_vpc else [])
        revision = placing.revision(item.fields)
        if not vpcs:
            placing.leave(item.kind, item.id, _no_vpc(item), item.source)
        elif revision is None:
            placing.leave(item.kind, item.id, placing.no_revision(item.fields), item.source)
        else:
            for vpc in vpcs:
                _place(item, vpc, revision, placing)


def _users(tables: Tables) -> dict[str, dict[str, None]]:
    """Return the networks of the ports that refer to each group, in order."""
    users: dict[str, dict[str, None]] = {}
    for port in tables.of(PORT).values():
        network, groups = network_of(port), port.fields.get("security_groups")
        for group in groups if network and isinstance(groups, list) else ():
            if isinstance(group, str):
                users.setdefault(group, {})[network or ""] = None
    return users


def _lift_rules(tables: Tables) -> None:
    """Make objects of the rules inside groups; one without a revision of its own has its group's."""
    for group in tables.of(GROUP).values():
        rules = group.fields.get("security_group_rules")
        for rule in rules if isinstance(rules, list) else ():
            if isinstance(rule, dict) and isinstance(rule.get("id"), str):
                inherited = {"security_group_id": group.id}
                if "revision_number" in group.fields:
                    inherited["revision_number"] = group.fields["revision_number"]
                tables.add(Item(RULE, rule["id"], {**inherited, **rule}, group.source))


def _no_vpc(item: Item) -> str:
    noun = "it" if item.kind == GROUP else "its security group"
    return f"no port of this import uses {noun}, so its VPC is not known: name one"


def _place(item: Item, vpc: str, revision: int, placing: Placing) -> None:
    fields = {name: value for name, value in item.fields.items() if name != "security_group_rules"}
    spec = {**fields, "vpc_id": vpc}
    placing.put(Resource(vpc_scope(vpc), item.kind, item.id, revision, spec), item.source)

"""Alcor's `GoalStateV2` JSON into changesets (docs/documents.md).

The rule: what one host must get (ports, dhcp, routers, gateways) goes to the hosts whose
`host_resources` name it; what a VPC's hosts must get goes to the VPC once, whoever is named, since
Southbound delivers it to every host with a port there. A resource's id is its key in the goal state's
map, which is what the index names. Rules and routes become resources of their own at the revision
of the group or router that holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from southbound.documents import alcor
from southbound.documents.document import Document
from southbound.documents.imported import Imported
from southbound.documents.options import ImportOptions
from southbound.documents.placing import Placing
from southbound.resources import KINDS, Op, Resource, Scope, ScopeClass, host_scope, vpc_scope
from southbound.settings import DocumentSettings

_MAPS = {f"{kind}_states": kind for kind in alcor.TYPES}
FIELDS = frozenset({"host_resources", *_MAPS})
"""Protobuf names of the fields at the top of a goal state by which it is known."""

_State = Mapping[str, Any]


def import_goalstate(
    document: Document,
    options: ImportOptions | None = None,
    settings: DocumentSettings | None = None,
) -> Imported:
    """Return the changesets of a goal state, and all that could not be placed."""
    options = options or ImportOptions()
    settings = settings or DocumentSettings()
    placing = Placing(revision_offset=options.revision_offset)
    goal = _GoalState(document, placing, options)
    for kind in alcor.TYPES:
        goal.place(kind)
    goal.leave_unknown()
    return placing.imported(resources_max=settings.changeset_resources_max)


class _GoalState:
    """One goal state: its maps, its index of hosts, and where its security groups are used."""

    def __init__(self, document: Document, placing: Placing, options: ImportOptions) -> None:
        self._document, self._placing, self._options = document, placing, options
        top = {alcor.snake(name): value for name, value in document.value.items()}
        self._states = {kind: self._map(top, name) for name, kind in _MAPS.items()}
        self._hosts = self._index(self._map(top, "host_resources"))
        self._users = self._group_users()

    def place(self, kind: str) -> None:
        """Put in every resource of a kind."""
        for id, state in self._states[kind].items():
            source = self._document.place(f"{kind}_states[{id}]")
            why = self._place_one(kind, id, state, source)
            if why is not None:
                self._placing.leave(kind, id, why, source)

    def leave_unknown(self) -> None:
        """List what the index names and no map holds."""
        for (kind, id), hosts in self._hosts.items():
            if id not in self._states.get(kind, {}):
                why = f"host_resources of {', '.join(hosts)} names it, but no map holds its state"
                self._placing.leave(kind, id, why, self._document.place("host_resources"))

    def _place_one(self, kind: str, id: str, state: Any, source: str) -> str | None:
        """Put in one resource, or say why not."""
        if not isinstance(state, dict) or not isinstance(_configuration(state), dict):
            return "has no configuration"
        configuration = _configuration(state)
        op = alcor.op_of(state.get("operation_type", 0))
        revision = self._placing.revision({"revision_number": 0, **configuration})
        if op is None:
            return f"operation {state.get('operation_type')!r} changes nothing"
        if revision is None:
            return self._placing.no_revision({"revision_number": 0, **configuration})
        scopes = self._scopes(kind, id, configuration)
        if not scopes:
            return _nowhere(kind)
        if configuration.get("update_type") in {"FULL", 1}:
            self._placing.warn(
                f"{source}: a full update is taken as its parts; what it no longer names is not deleted"
            )
        for scope in scopes:
            for resource in _resources(scope, kind, id, revision, (op, configuration)):
                self._placing.put(resource, source)
        return None

    def _scopes(self, kind: str, id: str, configuration: _State) -> list[Scope]:
        if KINDS[kind].cls is ScopeClass.HOST:
            return [host_scope(host) for host in self._hosts.get((kind, id), ())]
        if kind == "vpc":
            return [vpc_scope(id)]
        named = configuration.get("vpc_id") or self._vpc_of_subnets(configuration)
        if named:
            return [vpc_scope(str(named))]
        if kind != "security_group":
            return []
        fallback = self._options.security_group_vpc
        return [vpc_scope(vpc) for vpc in self._users.get(id) or ([fallback] if fallback else ())]

    def _vpc_of_subnets(self, configuration: _State) -> Any:
        for address in alcor.items(configuration, "fixed_ips"):
            subnet = self._states["subnet"].get(str(address.get("subnet_id")))
            if isinstance(subnet, dict) and isinstance(_configuration(subnet), dict):
                return _configuration(subnet).get("vpc_id")
        return None

    def _map(self, top: _State, name: str) -> dict[str, Any]:
        value = top.get(name, {})
        if isinstance(value, dict):
            return {id: alcor.message(state) for id, state in value.items()}
        why = f"{name} is not a map by id, as it is in GoalStateV2"
        self._placing.leave("document", self._document.name, why, self._document.place(name))
        return {}

    def _index(self, hosts: Mapping[str, Any]) -> dict[tuple[str, str], list[str]]:
        index: dict[tuple[str, str], list[str]] = {}
        for host, held in hosts.items():
            for named in alcor.items(held if isinstance(held, dict) else {}, "resources"):
                kind = alcor.kind_of_type(named.get("type", 0))
                entry = (kind or str(named.get("type")), str(named.get("id")))
                index.setdefault(entry, []).append(host)
        return index

    def _group_users(self) -> dict[str, dict[str, None]]:
        """Return the VPCs of the ports that refer to each security group, in order."""
        users: dict[str, dict[str, None]] = {}
        for state in self._states["port"].values():
            port = _configuration(state) if isinstance(state, dict) else None
            vpc = port.get("vpc_id") if isinstance(port, dict) else None
            if isinstance(port, dict) and isinstance(vpc, str):
                for group in alcor.items(port, "security_group_ids"):
                    users.setdefault(str(group.get("id")), {})[vpc] = None
        return users


def _configuration(state: _State) -> Any:
    return state.get("configuration")


def _nowhere(kind: str) -> str:
    if KINDS[kind].cls is ScopeClass.HOST:
        return "no host_resources name it, so its host is not known"
    if kind == "security_group":
        return "names no VPC, and no port of this goal state uses it: name a VPC for it"
    return "names no VPC"


def _resources(
    scope: Scope, kind: str, id: str, revision: int, state: tuple[Op, _State]
) -> Iterator[Resource]:
    op, configuration = state
    spec = alcor.spec_of(kind, configuration)
    if kind == "security_group":
        spec["vpc_id"] = scope.id
    yield Resource(scope, kind, id, revision, {} if op is Op.DELETE else spec, op)
    for part, part_id, part_op, part_spec in _parts(kind, id, configuration):
        done = Op.DELETE if op is Op.DELETE else part_op
        carried = {} if done is Op.DELETE else part_spec
        if scope.cls is ScopeClass.VPC and carried:
            carried["vpc_id"] = scope.id
        yield Resource(scope, part, part_id, revision, carried, done)


def _parts(
    kind: str, id: str, configuration: _State
) -> Iterator[tuple[str, str, Op, dict[str, Any]]]:
    """Yield kind, id, operation and spec of the rules or routes inside a configuration."""
    if kind == "security_group":
        for rule in alcor.items(configuration, "security_group_rules"):
            op = alcor.op_of(rule.get("operation_type", 0)) or Op.UPSERT
            yield "security_group_rule", str(rule.get("id", "")), op, alcor.rule_spec(rule, id)
    elif kind == "router":
        for table in alcor.items(configuration, "subnet_routing_tables"):
            subnet = str(table.get("subnet_id", ""))
            for rule in alcor.items(table, "routing_rules"):
                op = alcor.op_of(rule.get("operation_type", 0)) or Op.UPSERT
                route = str(rule.get("id") or f"{id}@{subnet}@{rule.get('destination')}")
                yield "route", route, op, alcor.route_spec(rule, id, subnet)

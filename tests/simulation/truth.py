"""What really happened, known to nobody in the simulation: what was sent, accepted and applied.

The rule: it only notes; what may be concluded is the business of `invariants`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from southbound.producer.core import Parcel
from southbound.resources import Op, ResourceKey, Scope
from southbound.wire.envelope import decode_spec
from southbound.wire.keys import decode_key


class Version(NamedTuple):
    """One revision as it was sent."""

    op: Op
    spec: Mapping[str, Any]
    changeset: str


class Part(NamedTuple):
    """One scope's share of a changeset: its members, and when it was sent first."""

    members: Mapping[ResourceKey, int]
    sent_us: int


class Truth:
    """Everything noted. `disasters`: scopes of whose log acknowledged records were lost."""

    def __init__(self) -> None:
        self.sent: defaultdict[ResourceKey, dict[int, Version]] = defaultdict(dict)
        self.accepted: dict[ResourceKey, int] = {}
        self.parts: dict[tuple[Scope, str], Part] = {}
        self.disasters: set[Scope] = set()
        self.accepted_parts: set[tuple[Scope, str]] = set()
        self.given_up: list[str] = []

    def note_sent(self, parcel: Parcel) -> None:
        """Note a part that is about to be sent."""
        members = {}
        for record in parcel.records:
            key = decode_key(record.key)
            members[key] = record.revision
            spec = decode_spec(record.spec) if record.op is Op.UPSERT else {}
            self.sent[key].setdefault(record.revision, Version(record.op, spec, parcel.changeset))
        self.parts.setdefault((parcel.scope, parcel.changeset), Part(members, parcel.sent_us))

    def note_accepted(self, parcel: Parcel) -> None:
        """Note a part that its publisher was told to be accepted."""
        self.accepted_parts.add((parcel.scope, parcel.changeset))
        for record in parcel.records:
            key = decode_key(record.key)
            self.accepted[key] = max(self.accepted.get(key, 0), record.revision)

    def highest(self, key: ResourceKey) -> int:
        """Return the highest revision that was ever sent of a resource."""
        return max(self.sent[key], default=0)

"""What is said between a tracker service and who asks it, as JSON. Pure.

The rule: fields are only ever added, and readers ignore those that they do not know.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from southbound.resources import ScopeClass
from southbound.wire.versioned import Micros, Revision


class EffectiveResource(msgspec.Struct, frozen=True):
    """One resource of a host. `state`: applied, failed, pending or deleted.

    `revision` stands on the node (0: none) since `since_us`, put there by `changeset`. When a later
    one failed or waits, `open_revision` of `open_changeset` does, since `open_us`, and `why` says why.
    """

    scope: str
    kind: str
    id: str
    state: str
    revision: int
    since_us: int
    changeset: str
    open_revision: int = 0
    open_changeset: str = ""
    open_us: int = 0
    why: str = ""


class EffectiveHost(msgspec.Struct, frozen=True):
    """What stands on a host. `heard_us`: when it last told anything, to ten minutes.

    `inventory_us`: when it last told everything; 0: not since the tracker's store began, so more may
    stand there than is listed.
    """

    host: str
    cluster: str
    heard_us: int
    inventory_us: int
    resources: tuple[EffectiveResource, ...]


class ListedChangeset(msgspec.Struct, frozen=True):
    """One line of the list. `standing` as in `Summary`; `not_yet`: hosts, or resources of a `heard` one."""

    changeset: str
    standing: str
    at_us: int
    settled: bool | None
    applied: int | None = None
    not_yet: int | None = None


class PartDocument(msgspec.Struct, frozen=True):
    """One scope's share: its class and id, and (kind, id, revision) of each resource."""

    cls: ScopeClass = msgspec.field(name="class")
    resources: tuple[tuple[str, str, Revision], ...]
    scope: str = ""


class ChangesetDocument(msgspec.Struct, frozen=True):
    """A changeset as it is announced. `sent_us`: when it is meant to be sent."""

    id: str
    sent_us: Micros
    parts: tuple[PartDocument, ...]


class AnnouncementsDocument(msgspec.Struct, frozen=True):
    """Body of POST /v1/changesets."""

    changesets: tuple[ChangesetDocument, ...]


class AcceptancesDocument(msgspec.Struct, frozen=True):
    """Body of POST /v1/acceptances."""

    accepted: tuple[str, ...] = ()
    refused: Mapping[str, str] = {}

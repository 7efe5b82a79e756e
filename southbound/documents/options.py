"""What a person may decide about an import of another control plane's documents.

The rule: without options an import does only what the documents say.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """Choices for an import.

    `router_hosts` get every router for which the documents name no host. `security_group_vpc` gets
    every security group that no port of the import uses. `revision_offset` is added to each
    revision: 1 for a cloud that counts from 0, or a number that rises with every import for one
    that numbers all it sends alike; it must never fall from one import to the next.
    """

    router_hosts: tuple[str, ...] = ()
    security_group_vpc: str | None = None
    revision_offset: int = 0

"""The topology that the directory holds, read without needing one.

The rule: before the first `topology apply` there is none, and that is no error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from southbound.cli.session import Session
from southbound.errors import ConfigError

if TYPE_CHECKING:
    from southbound.directory.topologies import Stored


def stored_topology(session: Session) -> Stored | None:
    """Return the stored topology and what is retired; None when there is none. Raises `EdgeError`."""
    from southbound.directory.index import Index
    from southbound.directory.topologies import decode_stored
    from southbound.edge.redis import RedisLink
    from southbound.settings import DirectorySettings

    settings = DirectorySettings(redis_url=session.redis_url())
    link = RedisLink(
        settings.redis_url, timeout_s=settings.redis_timeout_s, client_name="southbound-cli"
    )
    try:
        found = Index(link, settings).topology_document()
    finally:
        link.close()
    return None if found is None else decode_stored(found[1])


def needed_topology(session: Session) -> Stored:
    """Return the stored topology; `ConfigError` when there is none."""
    stored = stored_topology(session)
    if stored is None:
        raise ConfigError("no topology has been applied: southbound topology apply FILE")
    return stored

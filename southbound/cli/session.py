"""What every command needs to know: how to print, and where Redis and the tracker are.

The rule: an option beats the environment, and both beat the local fleet that runs in the state
folder, which is there so that a newcomer need name nothing at all. No guess beyond that: a command
that finds none of the three says so.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from southbound.errors import ConfigError

if TYPE_CHECKING:
    from southbound.directory import Directory
    from southbound.local.fleet import LocalFleet
    from southbound.partitioning.topology import Topology
    from southbound.tracker.client import TrackerClient

REDIS_VARIABLE = "SOUTHBOUND_REDIS_URL"
TRACKER_VARIABLE = "SOUTHBOUND_TRACKER"
LOCAL_VARIABLE = "SOUTHBOUND_LOCAL_DIR"
_LOCAL_DEFAULT = Path("var") / "local"
_TRACKER_FILE = "tracker.url"


class Output(enum.StrEnum):
    """How data are printed."""

    TABLE = "table"
    JSON = "json"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The options of the whole command line."""

    FIELDS: ClassVar[tuple[str, ...]] = ("output", "redis", "tracker", "local_dir")

    output: Output = Output.TABLE
    redis: str | None = None
    tracker: str | None = None
    local_dir: Path | None = None

    def with_option(self, name: str, value: Any) -> Session:
        """Return the same with one option as it was given later on the line."""
        return dataclasses.replace(self, **{name: value})

    @property
    def is_json(self) -> bool:
        """Whether a program reads what is printed."""
        return self.output is Output.JSON

    @property
    def fleet_dir(self) -> Path:
        """The folder of the local fleet, whether there is one or not."""
        return self.local_dir or Path(os.environ.get(LOCAL_VARIABLE) or _LOCAL_DEFAULT)

    def fleet(self) -> LocalFleet:
        """Return the local fleet; it may not have been started yet."""
        from southbound.local.fleet import LocalFleet

        return LocalFleet(self.fleet_dir)

    @property
    def uses_fleet(self) -> bool:
        """Whether Redis is the local fleet's."""
        return not self.redis and (self.fleet_dir / "fleet.json").is_file()

    def redis_url(self) -> str:
        """Return the address of Redis. Raises `ConfigError` when nobody named one."""
        if self.redis:
            return self.redis
        from southbound.local.ports import LOOPBACK
        from southbound.local.record import read_record

        record = read_record(self.fleet_dir / "fleet.json")
        if record is None:
            raise ConfigError(
                f"no Redis is named: give --redis or set {REDIS_VARIABLE}, or start a local fleet"
                f" (southbound local up; there is none in {self.fleet_dir})"
            )
        return f"redis://{LOOPBACK}:{record.redis_port}/0"

    @property
    def tracker_file(self) -> Path:
        """Where a tracker of the local fleet says what its address is."""
        return self.fleet_dir / _TRACKER_FILE

    def tracker_client(self) -> TrackerClient:
        """Return a client of the tracker. Raises `ConfigError` when nobody named one."""
        from southbound.tracker.client import TrackerClient

        url = self.tracker
        if not url and self.uses_fleet and self.tracker_file.is_file():
            url = self.tracker_file.read_text(encoding="utf-8", errors="replace").strip()
        if not url:
            raise ConfigError(
                f"no tracker is named: give --tracker or set {TRACKER_VARIABLE}"
                " (southbound tracker run starts one)"
            )
        return TrackerClient(url)

    def topology_file(self, given: Path | None) -> Path:
        """Return the document that was named, or the local fleet's."""
        if given is not None:
            return given
        file = self.fleet_dir / "topology.yaml"
        if not file.is_file():
            raise ConfigError(f"no topology is named, and there is no local fleet's in {file}")
        return file

    @contextmanager
    def directory(self, topology: Topology | None = None) -> Iterator[Directory]:
        """Open the directory for one command. Raises `ConfigError` or `EdgeError`."""
        from southbound.directory import Directory
        from southbound.settings import DirectorySettings

        settings = DirectorySettings(
            # A command ends when its follower does.
            redis_url=self.redis_url(),
            client_id="southbound-cli",
            follow_wait_s=0.1,
        )
        directory = Directory(settings, topology)
        directory.open()
        try:
            yield directory
        finally:
            directory.close()

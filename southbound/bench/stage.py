"""Real servers for one benchmark: a fleet of its own, its topics made, a directory open on it.

The rule: a benchmark never touches a fleet that somebody else works with, and its servers are
stopped and their data removed however it ends.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from southbound.directory import Directory
from southbound.documents.topology import load_topology
from southbound.edge.admin import apply_topics
from southbound.local.fleet import LocalFleet, LocalSettings
from southbound.local.layout import LayoutSettings
from southbound.settings import DirectorySettings

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """What a benchmark runs on.

    `azs`: as many as the fleet has by itself where None. `state_dir`: the fleet's data are in its folder `bench-fleet`; a temporary folder where None.
    """

    clusters: int = 3
    azs: int | None = None
    layout: LayoutSettings = field(default_factory=LayoutSettings)
    state_dir: Path | None = None


class Stage(NamedTuple):
    """The running fleet, and the directory open on it."""

    fleet: LocalFleet
    directory: Directory

    @property
    def redis_url(self) -> str:
        """Address of the directory's Redis."""
        return self.fleet.redis_url


@contextmanager
def staged(settings: StageSettings, progress: Progress) -> Iterator[Stage]:
    """Start everything; stop it and remove its data at the end.

    Raises `ConfigError` or `EdgeError` when a server cannot be started.
    """
    with _folder(settings.state_dir) as folder:
        fleet = LocalFleet(folder / "bench-fleet", LocalSettings(layout=settings.layout))
        # A run that was killed outright may have left its servers.
        fleet.down(wipe=True)
        try:
            fleet.up(settings.clusters, settings.azs, progress=progress)
            topology = load_topology(fleet.topology_file)
            progress(f"creating the topics of {len(topology.clusters)} clusters")
            apply_topics(topology)
            with Directory(DirectorySettings(redis_url=fleet.redis_url), topology) as directory:
                directory.put_topology(topology)
                yield Stage(fleet, directory)
        finally:
            fleet.down(wipe=True)


@contextmanager
def _folder(named: Path | None) -> Iterator[Path]:
    if named is not None:
        yield named
        return
    made = Path(tempfile.mkdtemp(prefix="southbound-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)

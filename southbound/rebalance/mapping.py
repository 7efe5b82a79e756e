"""The map as it stands now, for a planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from southbound.directory.directory import Directory
from southbound.partitioning.draft import Snapshot


def snapshot_of(
    directory: Directory, slot_weights: Mapping[str, Sequence[float]] | None = None
) -> Snapshot:
    """Read every placement. `slot_weights`: measured traffic. Raises `EdgeError`."""
    # The version is read first: what changes meanwhile makes the plan look older, never newer.
    version = directory.map_version()
    return Snapshot(
        topology=directory.topology,
        map_version=version,
        hosts=dict(directory.hosts_scan()),
        vpcs=dict(directory.vpcs_scan()),
        occupied=directory.occupancy(),
        slot_weights=slot_weights,
    )

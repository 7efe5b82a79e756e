"""Readers, as far as they can be judged without a broker."""

from __future__ import annotations

import pytest

from loadgen.nodes.readers import SingleReaders
from southbound.errors import ConfigError
from southbound.partitioning.placement import Placement
from tests.loadgen.scene import Scene


def test_more_consumers_than_a_process_can_hold_are_refused() -> None:
    """With the number, before anything is made."""
    hosts = {f"h{n}": Placement("h", 0) for n in range(901)}
    with pytest.raises(ConfigError, match=r"hosts: at most 900 in one process \(got 901\)"):
        SingleReaders(Scene().topology, hosts, {})

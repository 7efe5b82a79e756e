"""Administrators' clients that are let go of while brokers are slow to answer: the process lives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

from southbound.partitioning.topology import STATUS_TOPIC, Cluster

_ASKS = """
import random, sys, time
from southbound.edge.admin import ClusterAdmin
from southbound.edge.identity import TopicIds
from southbound.edge.slots import Place, SlotEnds
from southbound.edge.topics import TopicSettings, TopicSpec
from southbound.errors import EdgeError
from southbound.partitioning.topology import Cluster

what, bootstrap, topic = sys.argv[1:]
cluster = Cluster(id="c1", az="a", bootstrap=(bootstrap,))
answered = refused = 0
end_s = time.monotonic() + 6
while time.monotonic() < end_s:
    timeout_s = random.uniform(0.0, 0.03)
    try:
        if what == "ends":
            SlotEnds(cluster, "asker").ends([Place(topic, 0)], timeout_s)
        elif what == "ids":
            TopicIds(cluster, "asker").ask([topic], timeout_s)
        else:
            settings = TopicSettings(call_timeout_s=timeout_s)
            ClusterAdmin(cluster, settings).find([TopicSpec(topic, 1, 1, {})])
    except EdgeError:
        refused += 1
    else:
        answered += 1
print(answered, refused)
"""


@pytest.mark.parametrize("what", ["ends", "ids", "topics"])
def test_an_answer_that_comes_too_late_ends_nobody(
    clusters: Mapping[str, Cluster], what: str
) -> None:
    """A question's time is up about when its answer comes, hundreds of times: each is told or refused."""
    words = [sys.executable, "-c", _ASKS, what, clusters["c1"].bootstrap[0], STATUS_TOPIC]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2_000:]
    answered, refused = map(int, done.stdout.split())
    assert answered + refused > 50
    assert refused > 0

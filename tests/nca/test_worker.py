from __future__ import annotations

from collections.abc import Mapping

import pytest

from southbound.errors import ConfigError, EdgeError, InvalidResource
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.plan import Change, Plan
from southbound.nca.worker import Worker
from southbound.partitioning.topology import Az, Cluster, PublicKind, Topology
from southbound.resources import PUBLIC_SCOPE, Op, ResourceKey
from southbound.settings import WorkerSettings

# Port 9 is nobody's: these tests need no broker, and find none.
TOPOLOGY = Topology(
    region="test",
    azs=(Az(id="az-a", journal="c1"),),
    clusters=(Cluster(id="c1", az="az-a", bootstrap=("127.0.0.1:9",)),),
    pools=(),
    public=(PublicKind(kind="elb", cluster="c1", partitions=2),),
)
SETTINGS = WorkerSettings(poll_s=0.05, mark_timeout_s=0.1, flush_s=0.1)


def worker(applier: MemoryApplier, kind: str = "elb") -> Worker:
    """Return a worker without a broker."""
    return Worker(kind=kind, worker_id="w", applier=applier, topology=TOPOLOGY, settings=SETTINGS)


def test_an_unknown_kind_is_refused() -> None:
    """The mistake names the kinds there are, before the applier is touched."""
    applier = MemoryApplier()
    with pytest.raises(ConfigError, match=r"kind: .*it has elb.*'lamp'"):
        worker(applier, "lamp").start()
    assert not applier.is_open


def test_a_bad_id_is_refused() -> None:
    """A worker's id stands in keys, as a host's does."""
    with pytest.raises(InvalidResource, match="worker_id"):
        Worker(kind="elb", worker_id="a\nb", applier=MemoryApplier(), topology=TOPOLOGY)


def test_a_worker_begins_with_nothing() -> None:
    """What an earlier life left on the node is gone before the group is asked for anything."""
    applier = MemoryApplier()
    applier.open()
    key = ResourceKey(PUBLIC_SCOPE, "elb", "left behind")
    applier.apply(Plan((Change(key, 1, Op.UPSERT, {}),)))
    applier.close()
    mine = worker(applier)
    assert mine.status().reasons == ("not started",)
    mine.start()
    assert applier.resources == {}
    mine.stop()
    assert not applier.is_open


def test_without_a_broker_it_waits() -> None:
    """It lives, is not ready, says why, and stops when it is asked to."""
    mine = worker(MemoryApplier())
    mine.start()
    status = mine.status()
    assert status.live
    assert not status.ready
    assert "waiting for the group to share out elb" in status.reasons
    mine.stop()
    assert not mine.status().live


def test_a_node_that_cannot_be_cleared_is_an_error() -> None:
    """It must not join: others may serve what is still there."""

    class Stuck(MemoryApplier):
        def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
            """Fail as a whole."""
            raise EdgeError("the dataplane does not answer", retryable=True)

    applier = Stuck()
    with pytest.raises(EdgeError, match="does not answer"):
        worker(applier).start()
    assert not applier.is_open

"""A worker as a process of its own, for tests that kill it: `python worker_process.py SETTINGS`.

SETTINGS is JSON: bootstrap, kind, partitions, worker_id, root, session_timeout_ms.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from southbound.nca.appliers.file import FileApplier
from southbound.nca.worker import Worker
from southbound.partitioning.topology import Az, Cluster, PublicKind, Topology
from southbound.settings import WorkerSettings


def topology(bootstrap: str, kind: str, partitions: int) -> Topology:
    """Return a topology of one cluster with one public kind."""
    return Topology(
        region="test",
        azs=(Az(id="az-a", journal="c1"),),
        clusters=(Cluster(id="c1", az="az-a", bootstrap=(bootstrap,)),),
        pools=(),
        public=(PublicKind(kind=kind, cluster="c1", partitions=partitions),),
    )


def settings(session_timeout_ms: int) -> WorkerSettings:
    """Return settings with which a test need not wait long."""
    return WorkerSettings(
        session_timeout_ms=session_timeout_ms, heartbeat_ms=200, fetch_wait_ms=100, poll_s=0.1
    )


def main(given: dict[str, Any]) -> None:
    """Work until stopped."""
    logging.basicConfig(level=logging.INFO)
    worker = Worker(
        kind=given["kind"],
        worker_id=given["worker_id"],
        applier=FileApplier(given["root"]),
        topology=topology(given["bootstrap"], given["kind"], given["partitions"]),
        settings=settings(given["session_timeout_ms"]),
    )
    worker.run()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

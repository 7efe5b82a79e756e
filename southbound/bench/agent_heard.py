"""An agent whose client library writes down what it sends: `python -m southbound.bench.agent_heard`.

The rule: it is the same agent with the same options. Only each client's `debug` is set, and the
library's own log on standard error then names every request.
"""

from __future__ import annotations

import sys

from southbound.edge import kafka
from southbound.nca.__main__ import main
from southbound.partitioning.topology import Cluster

SPOKEN = {"debug": "protocol"}
"""Client settings with which librdkafka writes a line for each request that it sends."""

_quiet_config = kafka.base_config


def _spoken_config(cluster: Cluster, client_id: str) -> dict[str, str | int | float | bool]:
    return {**_quiet_config(cluster, client_id), **SPOKEN}


if __name__ == "__main__":
    kafka.base_config = _spoken_config
    sys.exit(main())

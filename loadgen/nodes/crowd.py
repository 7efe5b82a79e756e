"""Thousands of single readers, in as many processes as they need.

The rule: what `SingleReaders` does in one process is done here in several, each with a share of the
nodes; the face is the same, and what it answers is added up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, TypeVar

from loadgen.checker.histogram import Histogram
from loadgen.nodes.hall import Counts
from loadgen.nodes.readers import SingleReaders
from southbound.bench.crew import Crew
from southbound.errors import EdgeError
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Topology

_LOOK_S = 0.1

Value = TypeVar("Value")


class SingleHand:
    """The single readers of one process: a hand of a `Crew`."""

    def __init__(self, topology: Topology, vpcs: Mapping[str, VpcPlacement]) -> None:
        self._topology = topology
        self._vpcs = vpcs
        self._readers: SingleReaders | None = None

    def start(self, hosts: Mapping[str, Placement]) -> None:
        """Read for these hosts. Raises `EdgeError`."""
        self._readers = SingleReaders(self._topology, hosts, self._vpcs)
        self._readers.start()

    def wrong(self, expected: Mapping[str, int]) -> int:
        """Return how many nodes' digests are not these."""
        found = self._open().digests()
        return sum(found.get(node) != digest for node, digest in expected.items())

    def counts(self) -> Counts:
        """Return what was counted."""
        return self._open().counts()

    def digests(self) -> dict[str, int]:
        """Return the digest of every node."""
        return self._open().digests()

    def spans(self) -> tuple[bytes, bytes]:
        """Return the encoded histograms of hosts' and of VPCs' changes."""
        host, vpc = self._open().spans()
        return host.encode(), vpc.encode()

    def close(self) -> None:
        """Stop reading."""
        if self._readers is not None:
            self._readers.close()

    def _open(self) -> SingleReaders:
        assert self._readers is not None, "asked before it was started"
        return self._readers


class Crowd(AbstractContextManager["Crowd"]):
    """Single readers of any number of hosts. A context manager, which starts and ends processes.

    `per_process`: how many nodes one process reads for, each with a Consumer and four threads of the
    client library.
    """

    def __init__(
        self,
        topology: Topology,
        hosts: Mapping[str, Placement],
        vpcs: Mapping[str, VpcPlacement],
        *,
        per_process: int = 500,
    ) -> None:
        self._hosts = hosts
        count = max(1, math.ceil(len(hosts) / per_process))
        self._crew = Crew(count, SingleHand, topology, dict(vpcs))

    def __enter__(self) -> Self:
        self._crew.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._crew.__exit__(kind, error, trace)

    def start(self) -> None:
        """Begin to read. Raises `EdgeError`."""
        self._crew.ask("start", [(part,) for part in self._shares(self._hosts)])

    def wait(self, expected: Mapping[str, int], timeout_s: float) -> None:
        """Wait until every node's digest is as expected. Raises `EdgeError` when time is over first."""
        deadline_s = time.monotonic() + timeout_s
        shares = [(part,) for part in self._shares(expected)]
        while (wrong := sum(self._crew.ask("wrong", shares))) > 0:
            if time.monotonic() > deadline_s:
                raise EdgeError(
                    f"{wrong} of {len(expected)} nodes differ after {timeout_s:g} s", retryable=True
                )
            time.sleep(_LOOK_S)

    def counts(self) -> Counts:
        """Return what was counted, of all nodes."""
        total = Counts()
        for counts in self._crew.ask_all("counts"):
            total.merge(counts)
        return total

    def digests(self) -> dict[str, int]:
        """Return the digest of every node."""
        found: dict[str, int] = {}
        for part in self._crew.ask_all("digests"):
            found.update(part)
        return found

    def spans(self) -> tuple[Histogram, Histogram]:
        """Return the histograms of hosts' and of VPCs' changes, of all nodes."""
        host, vpc = Histogram(), Histogram()
        for one, other in self._crew.ask_all("spans"):
            host.merge(Histogram.decode(one))
            vpc.merge(Histogram.decode(other))
        return host, vpc

    def _shares(self, of: Mapping[str, Value]) -> Sequence[dict[str, Value]]:
        return [{host: of[host] for host in part} for part in self._crew.deal(sorted(self._hosts))]

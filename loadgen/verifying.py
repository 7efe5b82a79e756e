"""A worker that reads: all simulated nodes of its clusters, and whether each has what it must have.

The rule: nodes are agents that follow their host's slot from where it ended when they joined, and
their VPCs. While changes are published in bulk they stand still, as `million` measures one after the
other; while single changes are timed, they read as agents do.
"""

from __future__ import annotations

import gc
import time
from typing import Any, NamedTuple

from loadgen.coordination.seat import Say
from loadgen.following import Following
from loadgen.population import Population, Revisions
from loadgen.share import Share, placed_hosts
from loadgen.stage import directory_settings
from loadgen.usage import usage
from loadgen.workloads.fleet import Fleet
from southbound.directory import Directory
from southbound.errors import EdgeError

_TIMEOUT_S = 1_800.0


class _Open(NamedTuple):
    """All that a share consists of, once it is open."""

    directory: Directory
    population: Population
    following: Following


class VerifyingHand:
    """The hand of a reader's worker."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._open: _Open | None = None

    def open(self, plain: Any) -> int:
        """Look up the hosts of a share; return how many there are."""
        share = Share.of(plain)
        directory = Directory(directory_settings(share.redis_url))
        directory.open()
        fleet = Fleet(share.shape)
        placed = placed_hosts(directory, fleet, share.clusters, self._say)
        population = Population(directory, fleet, placed, self._say)
        self._open = _Open(directory, population, Following(directory, population.hall))
        return sum(len(one.hosts) for one in placed)

    def join(self) -> int:
        """Let all nodes begin where their slots end now; return how many."""
        gc.disable()
        try:
            return self._opened().population.join()
        finally:
            gc.enable()
            # A million nodes stay; the collector need not walk them again and again.
            gc.freeze()

    def read_up(self) -> dict[str, Any]:
        """Read everything that is there, then stand still; return when the last of it was applied."""
        following = self._opened().following
        # What nodes take in stays: there is nothing to be collected meanwhile.
        gc.disable()
        try:
            following.start()
            following.catch_up(_TIMEOUT_S)
            read_us = time.time_ns() // 1_000
            consumers = following.consumers
        finally:
            gc.enable()
            following.stop()
        gc.freeze()
        return {"read_us": read_us, "consumers": consumers}

    def follow(self) -> bool:
        """Read on from now, as it comes; count latencies anew."""
        following = self._opened().following
        following.start()
        following.catch_up(_TIMEOUT_S)
        following.take_spans()
        return True

    def followed(self) -> bytes:
        """Read up, stand still, and return how long VPCs' changes took until they were applied."""
        following = self._opened().following
        try:
            following.catch_up(_TIMEOUT_S)
            return following.take_spans().vpc.encode()
        finally:
            following.stop()

    def expect(self, hosts: int, others: dict[int, int], vpcs: int) -> bool:
        """Work out what nodes must have: hosts and VPCs at these revisions, other VPCs at theirs."""
        self._opened().population.expect(Revisions(hosts, vpcs, others))
        return True

    def verify(self, sample: int) -> dict[str, Any]:
        """Compare every node's digest, and `sample` nodes resource by resource."""
        checked = self._opened().population.check(sample)
        return {**checked._asdict(), "verified_us": time.time_ns() // 1_000}

    def reads(self) -> dict[str, int]:
        """Return what the nodes have read in their hosts' slots, and how much of it was theirs."""
        counts = self._opened().following.counts()
        return {
            "read": counts.host.read,
            "own": counts.host.own,
            "unsettled": counts.unsettled,
            "strays": counts.strays,
        }

    def usage(self) -> dict[str, float]:
        """Return what this process has taken: peak memory and CPU."""
        return usage()

    def close(self) -> None:
        """Stop reading, and close the directory."""
        if self._open is not None:
            self._open.following.stop()
            self._open.directory.close()

    def _opened(self) -> _Open:
        if self._open is None:
            raise EdgeError("the hand is told what its share is first", retryable=False)
        return self._open


def make_reader(say: Say) -> VerifyingHand:
    """Make the hand of a reader's worker."""
    return VerifyingHand(say)

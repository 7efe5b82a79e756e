"""A worker that publishes: one Publisher of its own, for all hosts of its clusters.

The rule: what is measured is `publish_many`, from the call to the last fence. Changesets are made
before, and made of nothing but the fleet and a revision; each cluster's are handed over in the order
of their slots.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from loadgen.coordination.seat import Say
from loadgen.share import Placed, Share, placed_hosts
from loadgen.stage import directory_settings
from loadgen.usage import usage
from loadgen.workloads.fleet import Fleet
from southbound.directory import Directory
from southbound.errors import EdgeError
from southbound.producer import Publisher
from southbound.resources import Changeset
from southbound.settings import PublisherSettings

_WAIT_S = 1_800.0
_DELIVERY_MS = 600_000
_PRESENT_AT_ONCE = 200
_MADE_AT_ONCE = 20_000
_AHEAD_US = 200_000


def publisher_settings(
    records_at_once: int, *, validate: bool, client_id: str
) -> PublisherSettings:
    """Return settings with room for two calls of so many records, and a busy machine's patience."""
    return PublisherSettings(
        client_id=client_id,
        buffer_records=max(400_000, 2 * records_at_once),
        buffer_wait_s=_WAIT_S,
        delivery_timeout_ms=_DELIVERY_MS,
        fence_timeout_s=300.0,
        validate_specs=validate,
    )


class PublishingHand:
    """The hand of a publisher's worker."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._directory: Directory | None = None
        self._publisher: Publisher | None = None
        self._fleet: Fleet | None = None
        self._placed: list[Placed] = []
        self._made: list[list[Changeset]] = []

    def open(self, plain: Any, client_id: str, validate: bool) -> int:  # noqa: FBT001  # told through Redis
        """Open the directory and a publisher for a share; return how many hosts are in it."""
        share = Share.of(plain)
        self._fleet = Fleet(share.shape)
        self._directory = Directory(directory_settings(share.redis_url))
        self._directory.open()
        self._placed = placed_hosts(self._directory, self._fleet, share.clusters, self._say)
        most = max((len(one.hosts) for one in self._placed), default=0)
        settings = publisher_settings(
            most * share.shape.vms_per_host, validate=validate, client_id=client_id
        )
        self._publisher = Publisher(self._directory, settings)
        self._publisher.start()
        return sum(len(one.hosts) for one in self._placed)

    def settle_vpcs(self, first: int, step: int, revision: int) -> int:
        """Publish every `step`th VPC's own configuration, from VPC `first` on; return how many."""
        fleet, publisher = self._open()
        count = 0
        for vpcs in _batches(range(first, fleet.vpcs, step), _PRESENT_AT_ONCE):
            publisher.publish_many(
                [fleet.vpc_changeset(j, revision) for j in vpcs]
            ).accepted.result(_WAIT_S)
            count += len(vpcs)
            self._say(f"VPCs published: {count:,}")
        return count

    def make_present(self, revision: int) -> int:
        """Publish to one host for each VPC in each cluster, so that every VPC is where its ports are.

        Return how many pairs of VPC and cluster that were.
        """
        fleet, publisher = self._open()
        hosts = [i for placed in self._placed for i in _first_of_vpcs(fleet, placed)]
        done = 0
        for some in _batches(hosts, _PRESENT_AT_ONCE):
            publisher.publish_many(
                [fleet.host_changeset(i, revision) for i in some]
            ).accepted.result(_WAIT_S)
            done += len(some)
            self._say(f"VPCs present in clusters: {done:,} of {len(hosts):,}")
        return done

    def prepare(self, revision: int) -> int:
        """Make the changesets of all hosts of the share; return how many."""
        fleet, _ = self._open()
        self._made = []
        gc.unfreeze()
        gc.disable()
        try:
            for placed in self._placed:
                made: list[Changeset] = []
                for hosts in _batches(placed.hosts, _MADE_AT_ONCE):
                    made += [fleet.host_changeset(i, revision) for i in hosts]
                    self._say(f"changesets made for {placed.cluster}: {len(made):,}")
                self._made.append(made)
        finally:
            gc.enable()
        # What stays until it is published need not be walked by the collector.
        gc.freeze()
        return sum(map(len, self._made))

    def publish(self) -> dict[str, Any]:
        """Publish what was prepared, a cluster after another; return when all of it is accepted.

        Returns `began_us`, `accepted_us`, `changes`, and the CPU of this process in seconds.
        """
        _, publisher = self._open()
        made, self._made = self._made, []
        changes = sum(map(len, made))
        began_us, began_cpu_s = time.time_ns() // 1_000, time.process_time()
        under_way: list[Future[int]] = []
        handed = 0
        while made:
            # Let go of as soon as they are handed over: a million of them take a gigabyte.
            changesets = made.pop(0)
            handed += len(changesets)
            under_way.append(publisher.publish_many(changesets).accepted)
            self._say(f"{handed:,} of {changes:,} changes handed over")
        accepted = sum(one.result(_WAIT_S) for one in under_way)
        ended_us = time.time_ns() // 1_000
        if accepted != changes:
            raise EdgeError(f"{accepted} of {changes} changes were accepted", retryable=False)
        return {
            "began_us": began_us,
            "accepted_us": ended_us,
            "changes": accepted,
            "cpu_s": time.process_time() - began_cpu_s,
        }

    def change_vpc(self, j: int, revision: int, times: int, every_s: float) -> int:
        """Publish a VPC's configuration `times` times, each when it is due; revisions rise by one.

        An open loop: none waits for the one before. Returns how many were accepted.
        """
        fleet, publisher = self._open()
        due_us = time.time_ns() // 1_000 + _AHEAD_US
        under_way = []
        for number in range(times):
            changeset = fleet.vpc_changeset(j, revision + number)
            time.sleep(max(0.0, due_us / 1e6 - time.time()))
            under_way.append(publisher.publish(changeset, sent_us=due_us).accepted)
            due_us += round(every_s * 1e6)
            self._say(f"VPC changes: {number + 1} of {times}")
        return len([one.result(_WAIT_S) for one in under_way])

    def usage(self) -> dict[str, float]:
        """Return what this process has taken: peak memory and CPU."""
        return usage()

    def close(self) -> None:
        """Close the publisher and the directory."""
        if self._publisher is not None:
            self._publisher.close()
        if self._directory is not None:
            self._directory.close()

    def _open(self) -> tuple[Fleet, Publisher]:
        if self._fleet is None or self._publisher is None:
            raise EdgeError("the hand is told what its share is first", retryable=False)
        return self._fleet, self._publisher


def _first_of_vpcs(fleet: Fleet, placed: Placed) -> list[int]:
    """Return hosts of a cluster that together have a port in every VPC that any of its hosts has."""
    seen: set[int] = set()
    chosen = []
    for i in placed.hosts:
        vpcs = fleet.host_vpcs(i)
        if not seen.issuperset(vpcs):
            seen.update(vpcs)
            chosen.append(i)
    return chosen


def _batches(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def make_publisher(say: Say) -> PublishingHand:
    """Make the hand of a publisher's worker."""
    return PublishingHand(say)

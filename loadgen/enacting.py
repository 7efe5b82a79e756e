"""A worker of a scenario: it publishes its share of the steps, and simulates its share of the nodes.

The rule: an open loop by one clock. A step leaves when it is due, however earlier ones fared, and
carries when it was due; whoever applies it counts from then. Every worker walks through all steps, so
each knows what its nodes must have in the end without asking anybody.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Any, NamedTuple

import mmh3

from loadgen.checker.histogram import Histogram
from loadgen.coordination.board import Board
from loadgen.coordination.clock import SharedClock, ask_clock
from loadgen.coordination.seat import Say
from loadgen.enactable import scenario_of
from loadgen.expectation import Expectation
from loadgen.following import READING, Following
from loadgen.population import Population
from loadgen.publishing import publisher_settings
from loadgen.share import Share, only, placed_hosts
from loadgen.stage import directory_settings
from loadgen.usage import usage
from loadgen.workloads.fleet import Fleet
from loadgen.workloads.steps import Step
from southbound.directory import Directory
from southbound.errors import EdgeError
from southbound.producer import Publisher
from southbound.resources import Changeset, Scope, ScopeClass, host_scope, vpc_scope

_WAIT_S = 1_800.0
_AT_ONCE = 5_000
_BULK_FROM = 1_000
_SHOWN_MAX = 20
_SAID_EVERY = 1_000
_BUFFERED = 200_000


class _Open(NamedTuple):
    """All that a share consists of, once it is open."""

    fleet: Fleet
    number: int
    workers: int
    directory: Directory
    publisher: Publisher
    population: Population
    following: Following
    expectation: Expectation
    clock: SharedClock


class EnactingHand:
    """The hand of a scenario's worker."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._open: _Open | None = None
        self._accepted = Histogram()
        self._counting = threading.Lock()
        self._failed: list[Exception] = []

    def open(self, plain: Any, number: int, workers: int) -> int:
        """Open a share: the hosts whose index leaves `number` when divided by `workers`."""
        share = Share.of(plain)
        fleet = Fleet(share.shape)
        board = Board(share.redis_url, "clock")
        clock = ask_clock(board)
        board.close()
        directory = Directory(directory_settings(share.redis_url))
        directory.open()
        settings = publisher_settings(_BUFFERED, validate=True, client_id=f"loadgen-{number}")
        publisher = Publisher(directory, settings)
        publisher.start()

        def is_mine(scope: Scope) -> bool:
            if scope.cls is ScopeClass.HOST:
                return fleet.index_of(scope.id) % workers == number
            return scope.cls is ScopeClass.VPC

        placed = [
            only(one, lambda i: i % workers == number)
            for one in placed_hosts(directory, fleet, share.clusters, self._say)
        ]
        population = Population(directory, fleet, placed, self._say)
        following = Following(
            directory,
            population.hall,
            dataclasses.replace(READING, fetch_wait_ms=50, clock_offset_us=clock.offset_us),
        )
        self._open = _Open(
            fleet,
            number,
            workers,
            directory,
            publisher,
            population,
            following,
            Expectation(is_mine),
            clock,
        )
        return sum(len(one.hosts) for one in placed)

    def join(self) -> int:
        """Let the nodes begin where their slots end now, and read on; return how many."""
        at = self._opened()
        nodes = at.population.join()
        at.following.start()
        return nodes

    def settle_vpcs(self, revision: int) -> int:
        """Publish the VPCs of this share; return how many."""
        at = self._opened()
        fleet = at.fleet
        made = (fleet.vpc_changeset(j, revision) for j in range(fleet.vpcs))
        return self._settle(made)

    def settle_hosts(self, revision: int) -> int:
        """Publish the neighbours of VPCs and the hosts of this share; return how many changesets."""
        fleet = self._opened().fleet
        made = (
            changeset
            for j in range(fleet.vpcs)
            if fleet.has_neighbors(j)
            for changeset in fleet.neighbor_changesets(j, revision)
        )
        hosts = (fleet.host_changeset(i, revision) for i in range(fleet.hosts))
        return self._settle(made) + self._settle(hosts)

    def enact(
        self, name: str, revision: int, seconds: float | None, begin_us: int
    ) -> dict[str, Any]:
        """Publish this share of a scenario, which begins at a moment of the shared clock.

        Returns how many changesets, and the latencies until they were accepted.
        """
        at = self._opened()
        count = 0
        for steps in self._due(scenario_of(name, revision, seconds).steps(at.fleet), begin_us):
            self._publish(steps, begin_us)
            if count // _SAID_EVERY != (count + len(steps)) // _SAID_EVERY:
                self._say(f"changesets published: {count + len(steps):,}")
            count += len(steps)
        at.publisher.flush(_WAIT_S)
        if self._failed:
            raise EdgeError(f"a change was not accepted: {self._failed[0]}", retryable=False)
        return {"changesets": count, "accepted": self._accepted.encode()}

    def catch_up(self) -> bool:
        """Return when the nodes have read what was there when this was asked."""
        self._opened().following.catch_up(_WAIT_S)
        return True

    def forget_spans(self) -> bool:
        """Count latencies anew from now on."""
        self._opened().following.take_spans()
        return True

    def found(self) -> dict[str, Any]:
        """Compare the nodes with what they must have; return that, what they read, and latencies."""
        at = self._opened()
        wrong = list(islice(self._wrong(at), _SHOWN_MAX))
        counts = at.following.counts()
        spans = at.following.take_spans()
        return {
            "nodes": counts.nodes,
            "wrong": wrong,
            "read": counts.host.read,
            "own": counts.host.own,
            "host_spans": spans.host.encode(),
            "vpc_spans": spans.vpc.encode(),
            "clock_error_us": at.clock.error_us,
            **usage(),
        }

    def close(self) -> None:
        """Stop reading, and close the publisher and the directory."""
        if self._open is not None:
            self._open.following.stop()
            self._open.publisher.close()
            self._open.directory.close()

    def _opened(self) -> _Open:
        if self._open is None:
            raise EdgeError("the hand is told what its share is first", retryable=False)
        return self._open

    # Publishing.

    def _settle(self, changesets: Iterable[Changeset]) -> int:
        """Publish this share of what all workers are told, and note all of it; return how many."""
        at = self._opened()
        count = 0
        for some in _batched(self._noted(changesets), _AT_ONCE):
            at.publisher.publish_many(some).accepted.result(_WAIT_S)
            count += len(some)
            self._say(f"changesets accepted: {count:,}")
        return count

    def _noted(self, changesets: Iterable[Changeset]) -> Iterator[Changeset]:
        """Note every changeset; yield those of this share."""
        at = self._opened()
        for changeset in changesets:
            at.expectation.take(changeset)
            if self._is_mine(changeset):
                yield changeset

    def _is_mine(self, changeset: Changeset) -> bool:
        """By the first resource's scope: what is told about one thing always leaves by one worker."""
        at = self._opened()
        first = changeset.resources[0]
        if first.scope.cls is ScopeClass.HOST:
            return at.fleet.index_of(first.scope.id) % at.workers == at.number
        id = first.scope.id or first.id
        return mmh3.hash(id.encode(), signed=False) % at.workers == at.number

    def _due(self, steps: Iterable[Step], begin_us: int) -> Iterator[list[Step]]:
        """Yield this share of the steps, together with what is due by then, when they are due."""
        at = self._opened()
        waiting: list[Step] = []
        for step in steps:
            if step.changeset is None:
                raise EdgeError("this scenario acts on nodes: workers cannot", retryable=False)
            at.expectation.take(step.changeset)
            if not self._is_mine(step.changeset):
                continue
            ahead_us = begin_us + step.due_us - at.clock.now_us()
            if waiting and (ahead_us > 0 or len(waiting) >= _AT_ONCE):
                yield waiting
                waiting = []
            if ahead_us > 0:
                time.sleep(ahead_us / 1e6)
            waiting.append(step)
        if waiting:
            yield waiting

    def _publish(self, steps: Sequence[Step], begin_us: int) -> None:
        publisher = self._opened().publisher
        if len(steps) >= _BULK_FROM:
            # All of it was due by now; the earliest is what the rest is counted from.
            due_us = begin_us + steps[0].due_us
            changesets = [step.changeset for step in steps if step.changeset is not None]
            receipts = publisher.publish_many(changesets, sent_us=due_us)
            self._count(receipts.accepted, due_us, len(changesets))
            return
        for step in steps:
            assert step.changeset is not None
            due_us = begin_us + step.due_us
            receipt = publisher.publish(step.changeset, sent_us=due_us)
            self._count(receipt.accepted, due_us, 1)

    def _count(self, accepted: Future[Any], due_us: int, times: int) -> None:
        clock = self._opened().clock

        def note(done: Future[Any]) -> None:
            error = done.exception()
            with self._counting:
                if error is None:
                    self._accepted.add(clock.now_us() - due_us, times)
                elif isinstance(error, Exception):
                    self._failed.append(error)

        accepted.add_done_callback(note)

    # Comparing.

    def _wrong(self, at: _Open) -> Iterator[str]:
        """Yield, in words, each node that does not have what it must."""
        for host, node in at.population.hall.nodes.items():
            # A VPC whose last port has just left is followed for a while yet.
            followed = set(node.vpcs())
            needed = at.expectation.vpcs_of(host)
            scopes = [host_scope(host), *map(vpc_scope, followed)]
            if not needed <= followed:
                yield f"{host} does not follow {', '.join(sorted(needed - followed))}"
            elif node.digest() != at.expectation.digest(scopes):
                yield f"{host}: its digest differs from what it must have"


def _batched(items: Iterable[Changeset], size: int) -> Iterator[list[Changeset]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def make_enactor(say: Say) -> EnactingHand:
    """Make the hand of a scenario's worker."""
    return EnactingHand(say)

"""Questions that may take long, asked away from the agents' threads.

The rule: a directory or a cluster that does not answer never stalls a stream. One thread serves all
agents of a process: it takes every waiting question at once, asks the directory once for all of
them, and tries again with a growing, jittered wait while it fails, so that a million agents do not
come back in the same instant.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from southbound.errors import ConfigError, EdgeError, SouthboundError
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Cluster, Topology

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.1
_WAIT_MAX_S = 15.0


class Locator(Protocol):
    """What an agent needs of a directory."""

    @property
    def topology(self) -> Topology:
        """The topology as it is now."""

    def open(self) -> None:
        """Connect. Raises `EdgeError` or `ConfigError`."""

    def close(self) -> None:
        """Let go of connections."""

    def hosts(self, ids: Iterable[str]) -> Mapping[str, Placement]:
        """Return the placements of known hosts."""
        ...

    def vpcs(self, ids: Iterable[str]) -> Mapping[str, VpcPlacement]:
        """Return the placements of known VPCs."""
        ...

    def register_hosts(self, azs: Mapping[str, str]) -> Mapping[str, Placement]:
        """Register hosts by AZ; known ones keep their placement."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """What the directory said: as in `events.Located`."""

    topology: Topology
    host: Placement | None
    vpcs: Mapping[str, VpcPlacement | None]


class Question(msgspec.Struct, frozen=True):
    """One agent's question. `az`: register the host there when nobody has; None: do not.

    `answered` and `failed` are called on the thread of the lookups; a failure is not final.
    """

    host: str
    az: str | None
    vpcs: tuple[str, ...]
    answered: Callable[[Answer], None]
    failed: Callable[[str], None]


class Identity(msgspec.Struct, frozen=True):
    """Who answers as a cluster: its own id, and those of its topics, without those that have none."""

    kafka_id: str
    topics: Mapping[str, str] = {}


class Probe(msgspec.Struct, frozen=True):
    """Whether a cluster answers, and which logs it has. Asked once; `seen` gets None if it did not.

    `topics`: those whose ids are wanted. `ask` gets all that are wanted of the cluster.
    """

    cluster: Cluster
    topics: frozenset[str]
    ask: Callable[[Cluster, frozenset[str]], Identity]
    seen: Callable[[Identity | None], None]


class Lookups:
    """The thread that asks. `make` makes the directory's client when it is first needed."""

    def __init__(self, make: Callable[[], Locator]) -> None:
        self._make = make
        self._locator: Locator | None = None
        self._wake = threading.Condition()
        self._questions: dict[str, Question] = {}
        self._probes: dict[str, list[Probe]] = {}
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, once."""
        with self._wake:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="southbound-lookups", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """End the thread and let go of the directory. Open questions stay unanswered."""
        with self._wake:
            self._closing = True
            self._wake.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def ask(self, question: Question) -> None:
        """Ask. A host's open question and its new one become one: at most one a host waits."""
        with self._wake:
            earlier = self._questions.get(question.host)
            if earlier is not None:
                vpcs = tuple(dict.fromkeys((*earlier.vpcs, *question.vpcs)))
                question = msgspec.structs.replace(question, vpcs=vpcs)
            self._questions[question.host] = question
            self._wake.notify()

    def probe(self, probe: Probe) -> None:
        """Ask a cluster; those who wait for the same cluster share the answer."""
        with self._wake:
            self._probes.setdefault(probe.cluster.id, []).append(probe)
            self._wake.notify()

    def forget(self, host: str) -> None:
        """Drop a host's open question."""
        with self._wake:
            self._questions.pop(host, None)

    # The thread.

    def _run(self) -> None:
        wait_s = 0.0
        while True:
            with self._wake:
                if wait_s:
                    self._wake.wait_for(lambda: self._closing or bool(self._probes), wait_s)
                else:
                    self._wake.wait_for(
                        lambda: self._closing or bool(self._questions) or bool(self._probes)
                    )
                if self._closing:
                    break
                questions, self._questions = self._questions, {}
                probes, self._probes = self._probes, {}
            if questions:
                wait_s = 0.0 if self._answer(list(questions.values())) else _next_wait(wait_s)
            for waiting in probes.values():
                _probe(waiting)
        if self._locator is not None:
            self._locator.close()

    def _answer(self, questions: list[Question]) -> bool:
        try:
            answers = self._look_up(questions)
        except SouthboundError as error:
            if not isinstance(error, EdgeError) and len(questions) > 1:
                # One agent's mistake (an AZ that is not there) is no other agent's trouble.
                fine = [self._answer([question]) for question in questions]
                return all(fine)
            for question in questions:
                question.failed(str(error))
                self._ask_again(question)
            return False
        for question, answer in zip(questions, answers, strict=True):
            question.answered(answer)
        return True

    def _ask_again(self, question: Question) -> None:
        with self._wake:
            newer = self._questions.pop(question.host, None)
        if newer is not None:
            vpcs = tuple(dict.fromkeys((*question.vpcs, *newer.vpcs)))
            question = msgspec.structs.replace(newer, vpcs=vpcs)
        with self._wake:
            self._questions[question.host] = question

    def _look_up(self, questions: list[Question]) -> list[Answer]:
        locator = self._open()
        hosts = dict(locator.hosts([question.host for question in questions]))
        missing = {
            question.host: question.az
            for question in questions
            if question.az is not None and question.host not in hosts
        }
        if missing:
            hosts.update(locator.register_hosts(missing))
        wanted = {vpc for question in questions for vpc in question.vpcs}
        vpcs = locator.vpcs(wanted) if wanted else {}
        topology = locator.topology
        return [
            Answer(
                topology=topology,
                host=hosts.get(question.host),
                vpcs={vpc: vpcs.get(vpc) for vpc in question.vpcs},
            )
            for question in questions
        ]

    def _open(self) -> Locator:
        if self._locator is None:
            locator = self._make()
            locator.open()
            self._locator = locator
        return self._locator


def _next_wait(wait_s: float) -> float:
    """Return the next wait: doubled, bounded, and anywhere between half and all of that."""
    longest_s = min(max(wait_s * 2, _FIRST_WAIT_S), _WAIT_MAX_S)
    return random.uniform(longest_s / 2, longest_s)


def _probe(waiting: list[Probe]) -> None:
    first = waiting[0]
    topics = frozenset().union(*(probe.topics for probe in waiting))
    try:
        found: Identity | None = first.ask(first.cluster, topics)
    except (EdgeError, ConfigError) as error:
        log.info("cluster %s does not answer: %s", first.cluster.id, error)
        found = None
    for probe in waiting:
        probe.seen(found)

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest

from southbound.errors import EdgeError, PlanError
from southbound.nca.lookups import Answer, Identity, Lookups, Probe, Question
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Cluster, Topology
from tests.nca.world import TOPOLOGY

WAIT_S = 60.0


class Locator:
    """A directory that is away for the first calls, and can be held up."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.asked: list[tuple[str, ...]] = []
        self.gate = threading.Event()
        self.reached = threading.Event()
        self.gate.set()

    @property
    def topology(self) -> Topology:
        """The topology."""
        return TOPOLOGY

    def open(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Let go."""
        self.asked.append(("closed",))

    def hosts(self, ids: Iterable[str]) -> Mapping[str, Placement]:
        """Return what is known: hosts whose name begins with `known`."""
        self.reached.set()
        self.gate.wait(WAIT_S)
        ids = tuple(sorted(ids))
        self.asked.append(ids)
        if self.failures:
            self.failures -= 1
            raise EdgeError("away", retryable=True)
        return {id: Placement("host-a", 0) for id in ids if id.startswith("known")}

    def vpcs(self, ids: Iterable[str]) -> Mapping[str, VpcPlacement]:
        """Return the VPC `v`."""
        return {id: VpcPlacement(1, (Placement("vpc-a", 0),)) for id in ids if id == "v"}

    def register_hosts(self, azs: Mapping[str, str]) -> Mapping[str, Placement]:
        """Register, in the zone `az` only."""
        if set(azs.values()) != {"az"}:
            raise PlanError(f"no such zone: {azs}")
        return {host: Placement("host-b", 0) for host in azs}


@pytest.fixture
def locator() -> Locator:
    """Return a directory that answers."""
    return Locator()


@pytest.fixture
def lookups(locator: Locator) -> Iterator[Lookups]:
    """Return running lookups in that directory."""
    made = Lookups(lambda: locator)
    made.start()
    yield made
    locator.gate.set()
    made.close()


Ask = Callable[..., "queue.SimpleQueue[Answer | str]"]


@pytest.fixture
def ask(lookups: Lookups) -> Ask:
    """Return a function that asks and returns where the answers come."""

    def asking(host: str, *vpcs: str, az: str | None = None) -> queue.SimpleQueue[Answer | str]:
        answers: queue.SimpleQueue[Answer | str] = queue.SimpleQueue()
        lookups.ask(Question(host, az, vpcs, answers.put, answers.put))
        return answers

    return asking


def test_a_known_host_and_its_vpcs_are_found(ask: Ask) -> None:
    """A VPC without a row maps to None."""
    answer = ask("known", "v", "w").get(timeout=WAIT_S)
    assert isinstance(answer, Answer)
    assert (answer.topology, answer.host) == (TOPOLOGY, Placement("host-a", 0))
    assert answer.vpcs == {"v": VpcPlacement(1, (Placement("vpc-a", 0),)), "w": None}


def test_an_unknown_host_is_registered_only_with_a_zone(ask: Ask) -> None:
    """Without one it stays unknown."""
    registered, unknown = (
        ask("new", az="az").get(timeout=WAIT_S),
        ask("other").get(timeout=WAIT_S),
    )
    assert isinstance(registered, Answer)
    assert isinstance(unknown, Answer)
    assert registered.host == Placement("host-b", 0)
    assert unknown.host is None


def test_a_directory_that_is_away_is_asked_again(locator: Locator, ask: Ask) -> None:
    """Each failure is told; the answer comes when it is back."""
    locator.failures = 2
    answers = ask("known")
    assert [answers.get(timeout=WAIT_S) for _ in range(2)] == ["away", "away"]
    assert isinstance(answers.get(timeout=WAIT_S), Answer)


def test_questions_that_wait_are_asked_together(locator: Locator, ask: Ask) -> None:
    """One look-up for all hosts, and one question for each."""
    locator.gate.clear()
    answers = [ask("known0")]
    assert locator.reached.wait(WAIT_S)
    answers += [ask(f"known{number}", "v") for number in range(1, 5)]
    again = ask("known4", "w")
    locator.gate.set()
    assert isinstance(again.get(timeout=WAIT_S), Answer)
    for waiting in answers[:4]:
        assert isinstance(waiting.get(timeout=WAIT_S), Answer)
    assert sum(len(asked) for asked in locator.asked) == 5
    assert len(locator.asked) <= 2


def test_one_agents_mistake_is_no_other_agents_trouble(locator: Locator, ask: Ask) -> None:
    """A zone that is not there fails its own question only."""
    locator.gate.clear()
    first = ask("known0")
    wrong, right = ask("new1", az="nowhere"), ask("new2", az="az")
    locator.gate.set()
    assert isinstance(first.get(timeout=WAIT_S), Answer)
    assert isinstance(right.get(timeout=WAIT_S), Answer)
    assert "no such zone" in str(wrong.get(timeout=WAIT_S))


def test_a_probe_is_shared_and_its_failure_is_told(lookups: Lookups) -> None:
    """A cluster that does not answer gives None."""
    cluster = Cluster(id="c", az="az", bootstrap=("x",))
    seen: queue.SimpleQueue[Identity | None] = queue.SimpleQueue()

    def away(_: Cluster, _topics: frozenset[str]) -> Identity:
        raise EdgeError("no broker", retryable=True)

    def there(which: Cluster, topics: frozenset[str]) -> Identity:
        return Identity(f"id of {which.id}", {topic: f"id of {topic}" for topic in topics})

    lookups.probe(Probe(cluster, frozenset({"t"}), there, seen.put))
    assert seen.get(timeout=WAIT_S) == Identity("id of c", {"t": "id of t"})
    lookups.probe(Probe(cluster, frozenset(), away, seen.put))
    assert seen.get(timeout=WAIT_S) is None


def test_closing_lets_go_of_the_directory(locator: Locator) -> None:
    """Open questions stay unanswered; closing twice is fine."""
    lookups = Lookups(lambda: locator)
    lookups.start()
    lookups.start()
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    lookups.ask(Question("known", None, (), answers.put, lambda _: None))
    answers.get(timeout=WAIT_S)
    lookups.close()
    lookups.close()
    assert locator.asked[-1] == ("closed",)


def test_a_forgotten_question_is_not_asked(locator: Locator, ask: Ask, lookups: Lookups) -> None:
    """As when its agent stops while the directory is away."""
    locator.gate.clear()
    first = ask("known0")
    assert locator.reached.wait(WAIT_S)
    ask("known1")
    lookups.forget("known1")
    locator.gate.set()
    assert isinstance(first.get(timeout=WAIT_S), Answer)
    assert isinstance(ask("known2").get(timeout=WAIT_S), Answer)
    assert "known1" not in {host for asked in locator.asked for host in asked}

"""An agent whose clusters never answer: what it does with its disk, its applier and its threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from southbound.errors import ConfigError, EdgeError
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.parts import AgentParts
from southbound.nca.plan import Plan
from southbound.nca.service import Agent
from southbound.nca.state import Due, Entry, OwedReport, StreamState, Transaction
from southbound.nca.store import BrokenStore, Store
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.resources import Op, ResourceKey, host_scope
from southbound.settings import AgentSettings
from southbound.wire.keys import encode_key
from tests.nca.records import expected, port

HOST = "h1"
NOWHERE = Topology(
    region="r",
    azs=(Az(id="az", journal="c1"),),
    clusters=(Cluster(id="c1", az="az", bootstrap=("127.0.0.1:1",)),),
    pools=(Pool(id="hosts", cluster="c1", cls="host", topics=1, partitions=1, max_per_slot=9),),
    version=1,
)
SETTINGS = AgentSettings(poll_s=0.05, mark_timeout_s=0.2, retry_first_s=0.05, flush_s=0.05)


class Locator:
    """A directory that knows `rows`, or is away."""

    def __init__(self) -> None:
        self.rows = {HOST: Placement("hosts", 0)}
        self.is_away = False

    @property
    def topology(self) -> Topology:
        """The topology."""
        return NOWHERE

    def open(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Let go."""

    def hosts(self, ids: Iterable[str]) -> Mapping[str, Placement]:
        """Return what is known."""
        if self.is_away:
            raise EdgeError("Redis is away", retryable=True)
        return {id: self.rows[id] for id in ids if id in self.rows}

    def vpcs(self, ids: Iterable[str]) -> Mapping[str, VpcPlacement]:
        """Know no VPC."""
        return {}

    def register_hosts(self, azs: Mapping[str, str]) -> Mapping[str, Placement]:
        """Register nobody."""
        return {}


@pytest.fixture
def locator() -> Locator:
    """Return the directory."""
    return Locator()


@pytest.fixture
def applier() -> MemoryApplier:
    """Return the node."""
    return MemoryApplier()


@pytest.fixture
def agent(locator: Locator, applier: MemoryApplier, tmp_path: Path) -> Iterator[Agent]:
    """Return an agent that has not been started; it is stopped after the test."""
    parts = AgentParts.make(lambda: locator)
    made = Agent.sharing(parts, host=HOST, state_dir=tmp_path, applier=applier, settings=SETTINGS)
    yield made
    made.stop()
    parts.close()


def soon(what: Callable[[], bool]) -> None:
    """Wait until it holds."""
    end_s = time.monotonic() + 60.0
    while not what():
        assert time.monotonic() < end_s, "not in time"
        time.sleep(0.005)


def owing(folder: Path) -> None:
    """Write down a state in which one port may not have reached the node."""
    put = port(HOST, "p", 3, name="owed")
    entry = Entry(3, Op.UPSERT, b"\x81\xa4name\xa4owed", "c")
    store = Store(folder, HOST)
    store.open()
    store.commit(
        Transaction(
            topology=NOWHERE,
            entries={put.key: entry},
            streams={host_scope(HOST): StreamState(Placement("hosts", 0), 5, swept=True)},
            owed={1: OwedReport((Due("c", encode_key(put.key), 3, None),))},
        )
    )
    store.close()


def test_what_is_owed_is_applied_with_everything_away(
    agent: Agent, applier: MemoryApplier, locator: Locator, tmp_path: Path
) -> None:
    """Local state suffices to bring the node to its last configuration."""
    locator.is_away = True
    owing(tmp_path)
    agent.start()
    soon(lambda: applier.resources == expected(port(HOST, "p", 3, name="owed")))
    soon(lambda: any("Redis is away" in why for why in agent.status().reasons))
    assert agent.status().live
    assert agent.gauges().resources == 1


def test_a_host_that_nobody_registered_is_told_so(agent: Agent, locator: Locator) -> None:
    """It waits, is not ready, and says why."""
    locator.rows.clear()
    agent.start()
    soon(lambda: any("nobody has registered" in why for why in agent.status().reasons))
    assert agent.status().live
    assert not agent.status().ready


def test_before_the_start_nothing_is_claimed(agent: Agent) -> None:
    """Neither live nor ready."""
    assert not agent.status().live
    assert not agent.status().ready
    assert agent.gauges().streams == 0


def test_a_stopped_agent_is_not_live(agent: Agent, tmp_path: Path) -> None:
    """And its state is free for the next one."""
    agent.start()
    agent.stop()
    assert not agent.status().live
    store = Store(tmp_path, HOST)
    store.open()
    store.close()


def test_a_bad_host_id_is_refused(applier: MemoryApplier, tmp_path: Path) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigError, match="host"):
        Agent(host="a\nb", state_dir=tmp_path, applier=applier)


def test_an_applier_that_cannot_work_ends_the_start(locator: Locator, tmp_path: Path) -> None:
    """The state is let go of, so that a second attempt can be made."""

    class Unable(MemoryApplier):
        def open(self) -> None:
            raise ConfigError("no such program")

    parts = AgentParts.make(lambda: locator)
    agent = Agent.sharing(parts, host=HOST, state_dir=tmp_path, applier=Unable())
    with pytest.raises(ConfigError, match="no such program"):
        agent.start()
    store = Store(tmp_path, HOST)
    store.open()
    store.close()


def test_an_applier_that_raises_fails_its_plan_and_nothing_else(
    locator: Locator, tmp_path: Path
) -> None:
    """It is tried again, and works the next time."""

    class Stumbling(MemoryApplier):
        stumbles = 2

        def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
            if self.stumbles:
                self.stumbles -= 1
                raise RuntimeError("stumbled")
            return super().apply(plan)

    owing(tmp_path)
    applier = Stumbling()
    parts = AgentParts.make(lambda: locator)
    agent = Agent.sharing(parts, host=HOST, state_dir=tmp_path, applier=applier, settings=SETTINGS)
    agent.start()
    soon(lambda: len(applier.resources) == 1)
    agent.stop()
    parts.close()
    assert agent.counters.resources_failed == 2
    assert agent.counters.apply_retries == 2


def test_a_disk_that_refuses_is_waited_for(
    agent: Agent, applier: MemoryApplier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is applied before it is written; the agent lives, is not ready, and says why."""
    is_full = True
    commit = Store.commit

    def refusing(store: Store, transaction: Transaction) -> None:
        if is_full:
            raise EdgeError("database or disk is full", retryable=True)
        commit(store, transaction)

    monkeypatch.setattr(Store, "commit", refusing)
    agent.start()
    soon(lambda: any("disk is full" in why for why in agent.status().reasons))
    assert agent.status().live
    assert not agent.status().ready
    assert list(applier.plans) == []
    is_full = False
    soon(lambda: not any("disk" in why for why in agent.status().reasons))
    assert agent.counters.persist_failures >= 1
    agent.stop()
    store = Store(tmp_path, HOST)
    assert set(store.open().streams) == {host_scope(HOST)}
    store.close()


def test_an_agent_whose_disk_refuses_can_be_stopped(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the disk to come back."""

    def refusing(store: Store, transaction: Transaction) -> None:
        raise EdgeError("database or disk is full", retryable=True)

    monkeypatch.setattr(Store, "commit", refusing)
    agent.start()
    soon(lambda: agent.counters.persist_failures > 0)
    begun_s = time.monotonic()
    agent.stop()
    assert time.monotonic() - begun_s < 20.0


def test_a_store_that_breaks_while_in_use_is_replaced(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is moved aside, counted, and the agent begins with a snapshot: no crash loop."""
    breaks = [True]
    commit = Store.commit

    def breaking(store: Store, transaction: Transaction) -> None:
        if breaks:
            breaks.clear()
            raise BrokenStore("the image is malformed")
        commit(store, transaction)

    monkeypatch.setattr(Store, "commit", breaking)
    agent.start()
    soon(lambda: agent.counters.resyncs == {"store_broken": 1})
    soon((tmp_path / "agent.db.broken").exists)
    soon(lambda: agent.gauges().streams == 1)
    assert agent.status().live


def test_a_fault_of_the_agent_itself_ends_its_run(
    locator: Locator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no trouble of the outside is raised to whoever runs it."""

    def faulty(store: Store, transaction: Transaction) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(Store, "commit", faulty)
    parts = AgentParts.make(lambda: locator)
    agent = Agent.sharing(parts, host=HOST, state_dir=tmp_path, applier=MemoryApplier())
    with pytest.raises(AssertionError, match="a bug"):
        agent.run()
    assert not agent.status().live
    parts.close()

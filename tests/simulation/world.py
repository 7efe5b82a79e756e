"""A world: the whole system in memory, one schedule run through it, and the promises checked.

The rule: everything that happens follows from the schedule and its seed, so a run can be repeated to
the last step. A world is made, run once, and thrown away.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable

from southbound.directory.verdict import Held, better, judge
from southbound.nca.appliers.memory import MemoryApplier
from southbound.nca.core import AgentCore
from southbound.partitioning.placement import Placement
from southbound.resources import Changeset, Op, Resource, ResourceKey, host_scope
from southbound.wire.control import JournalEntry, decode_journal, encode_control
from southbound.wire.keys import parse_scope_text, scope_text
from tests.simulation.asker import Asker
from tests.simulation.audit import Audit
from tests.simulation.directory import Memory, Redis, counts_of
from tests.simulation.faults import ALL_FAULTS, Fault
from tests.simulation.fleet import CLUSTERS, JOURNALS, az_of, cluster_of, placements
from tests.simulation.group import Group
from tests.simulation.invariants import Invariants, Violation
from tests.simulation.janitor import Janitor
from tests.simulation.log import Cluster
from tests.simulation.loop import DAY, HOUR, MINUTE, MS, START_US, Loop, Overrun, S, Steps
from tests.simulation.mover import Homecoming, Ledger, Mover, Wish
from tests.simulation.network import Network
from tests.simulation.node import SETTINGS, Node
from tests.simulation.publisher import Publisher
from tests.simulation.topic import Topic
from tests.simulation.tracker import Tracker
from tests.simulation.traps import Traps
from tests.simulation.truth import Truth
from tests.simulation.worker import Worker
from tests.simulation.workload import (
    PUBLISHERS,
    Drop,
    Grow,
    Publish,
    Register,
    Rehome,
    Relocate,
    Schedule,
    happenings,
    scope_of,
)

STEPS_MAX = 60_000
_PATIENCE_US = 2 * HOUR
LAG_US = HOUR
_RETENTION_US = 7 * DAY


class World:
    """One run. `trace`: what happened, line by line, if it is wanted."""

    def __init__(self, schedule: Schedule, *, traced: bool = False) -> None:
        self.schedule = schedule
        seed = f"{schedule.seed} {schedule.chance}"
        self.chance = random.Random(f"world {seed}")
        self.loop = Loop(random.Random(f"loop {seed}"), STEPS_MAX)
        self.trace: list[str] | None = [] if traced else None
        self.counts: Counter[str] = Counter()
        self.audit = Audit(self)
        self.clusters = {id: Cluster(id, self.audit.taken) for id in CLUSTERS}
        self.network = Network(self.loop, random.Random(f"net {seed}"), self.clusters)
        self.redis = Redis()
        self.truth = Truth()
        self.invariants = Invariants(self)
        self.ledger = Ledger()
        self.lag_us = LAG_US
        self.stores_often = self.chance.choice((1.0, 0.5))
        self.nodes = {host: self.make_node(host) for host in schedule.hosts}
        self.publishers = {name: self.make_publisher(name) for name in PUBLISHERS}
        self.movers = {name: self.make_mover(name) for name in ("mover1", "mover2")}
        self.janitor = self.make_janitor("janitor")
        self.traps = Traps()
        self.topic = Topic(self)
        self.group = Group(self)
        self.workers: dict[str, Worker] = {}
        self.tracker = Tracker(self)
        self.asker = Asker(self)
        self.refused: set[str] = set()
        self._numbers = 0
        self._has_happened = False

    # What planted bugs replace.

    def make_core(self, node: Node) -> AgentCore:
        """Return the core of an agent's next life."""
        return AgentCore(node.host, SETTINGS, node.disk.state, node.counters)

    def make_node(self, host: str, name: str = "") -> Node:
        """Return a node; `name` tells two of one host apart."""
        return Node(self, host, name)

    def make_publisher(self, name: str) -> Publisher:
        """Return a publisher."""
        return Publisher(self, name)

    def make_mover(self, name: str) -> Mover:
        """Return an executor of moves."""
        return Mover(self, name)

    def make_janitor(self, name: str) -> Janitor:
        """Return a janitor."""
        return Janitor(self, name)

    # What everybody uses.

    def note(self, who: str, what: str) -> None:
        """Write into the trace."""
        if self.trace is not None:
            at_s = (self.loop.now_us - START_US) / 1e6
            self.trace.append(f"{at_s:14.4f} {who:8} {what}")

    def pause_us(self) -> int:
        """Return how long a process does nothing between two steps: mostly not at all."""
        if self.chance.random() >= self.schedule.pauses:
            return 0
        return int(self.chance.choice((0.05, 1, 20, 45)) * S)

    def doze_us(self) -> int:
        """Return how long a publisher does nothing around a delivery: mostly not at all."""
        if self.chance.random() >= self.schedule.dozes:
            return 0
        return int(self.chance.choice((0.3, 1, 3, 8, 20)) * S)

    def held(self) -> dict[str, Held]:
        """Return what the journal decides of each key."""
        return judge({}, self.journal_entries()).held

    def journal_entries(self) -> list[tuple[str, JournalEntry]]:
        """Return the journals as they stand."""
        return [
            (one.key.decode(), decode_journal(one.value))
            for where in JOURNALS.values()
            for one in self.clusters[where.cluster].at(where).read(0, 1 << 62)
            if one.value is not None
        ]

    def end_of(self, az: str) -> int:
        """Where an AZ's journal ends."""
        where = JOURNALS[az]
        return self.clusters[where.cluster].at(where).high

    # What faults do.

    def start_node(self, node: Node) -> None:
        """Start an agent that is not running."""
        if not node.is_up:
            node.start()

    def replace_publisher(self, name: str) -> None:
        """Let an instance die, and another begin."""
        self.note(name, "dies")
        self.publishers[name].die()
        self.publishers[name] = self.make_publisher(name)
        self.publishers[name].start()

    def replace_mover(self, name: str) -> None:
        """Let an executor die; another takes up its moves a little later."""
        self.bury_mover(name, 2 * S)

    def bury_mover(self, name: str, away_us: int) -> None:
        """End an executor's process; after a time the other one takes up what it did."""

        def steps() -> Steps[None]:
            yield 0
            self.note(name, "dies")
            self.loop.kill_all(f"{name} ")
            self.movers[name] = self.make_mover(name)
            yield away_us
            self.resume("mover1" if name == "mover2" else "mover2")

        self.loop.spawn(f"burial of {name}", steps())

    def resume(self, name: str, *, abandons: bool = False, after_us: int = 0) -> None:
        """Let an executor take up everything that is not finished."""
        mover = self.movers[name]
        for id in self.ledger.unfinished:
            if id in self.ledger.homes:
                self.loop.spawn(f"{name} rehomes {id}", mover.rehome(id, None), after_us)
                continue
            if abandons:
                mover.abandons.add(id)
            first = self.ledger.records[id][0]
            part = first.parts[0]
            scope = parse_scope_text(f"{'h' if part.cls == 'host' else 'v'}\x1f{part.id}")
            wish = Wish(id, scope, "")
            self.loop.spawn(f"{name} resumes {id}", mover.move(wish), after_us)

    def kill_worker(self, name: str, away_us: int) -> None:
        """Let a worker die; another begins on its node after a time."""
        worker = self.workers.get(name)
        if worker is None or not worker.is_alive:
            return
        self.note(name, "dies")
        worker.die()

        def steps() -> Steps[None]:
            yield away_us
            self.workers[name] = Worker(self, name, worker.applier)

        self.loop.spawn(f"{name}'s next life", steps())

    @property
    def is_directory_calm(self) -> bool:
        """Whether nothing has happened by which a reservation may have been lost, or left behind."""
        return not any(
            one.kind.startswith("Redis") or one.kind in {"publisher killed", "link cut"}
            for one in self.schedule.faults
        )

    def replace_janitor(self) -> None:
        """Let the janitor die, and another begin."""
        if not self.schedule.is_swept:
            return
        self.janitor.die()
        self.janitor = self.make_janitor("janitor")
        self.janitor.start()

    def may_recreate(self) -> bool:
        """Tell whether the control plane has nothing more to do that revisions were drawn for."""
        return self._has_happened

    def recreate(self, key: ResourceKey) -> None:
        """Publish a resource that was deleted once more, as it was last."""
        sent = self.truth.sent[key]
        specs = [one.spec for _, one in sorted(sent.items()) if one.op is Op.UPSERT]
        if specs:
            self._numbers += 1
            again = Resource(key.scope, key.kind, key.id, max(sent) + 1, specs[-1])
            self.note("world", f"{key} comes back")
            self.publishers[PUBLISHERS[1]].publish(Changeset(f"back-{self._numbers}", (again,)))

    def sweep_once(self) -> None:
        """Let another janitor go through everything."""
        if not self.schedule.is_swept:
            return
        other = self.make_janitor("janitor2")

        def steps() -> Steps[None]:
            from southbound.errors import EdgeError

            try:
                yield from other.sweep()
            except EdgeError:
                return

        self.loop.spawn("janitor2 sweeps", steps())

    def reconnect(self) -> None:
        """Whoever had lost a connection makes it anew."""
        for node in self.nodes.values():
            node.reconnect()
            node.wake()

    def compact(self) -> None:
        """Let compaction run everywhere, as far as it may."""
        for cluster in self.clusters.values():
            for (topic, _), partition in cluster.partitions.items():
                if topic != "sb.status":
                    gone = partition.compact(self.loop.now_us, self.lag_us, _RETENTION_US)
                    self.counts["records compacted"] += gone
        self.audit.look()

    def wipe(self, cluster: str) -> None:
        """Lose a cluster's data topics of hosts; then publish everything again."""
        self._lose(cluster)
        self.clusters[cluster].wipe(lambda topic: topic.startswith("sb.h"))
        self._republish(cluster)

    def truncate(self, cluster: str, records: int) -> None:
        """Lose the latest records of a cluster's data topics of hosts; then publish all again."""
        self._lose(cluster)
        for (topic, _), partition in self.clusters[cluster].partitions.items():
            if topic.startswith("sb.h"):
                partition.truncate(max(0, partition.high - records))
        self._republish(cluster)

    def _lose(self, cluster: str) -> None:
        for text, held in self.held().items():
            scope = parse_scope_text(text)
            if any(cluster_of(one) == cluster for one in placements(scope, held.row)):
                self.truth.disasters.add(scope)

    def _republish(self, cluster: str) -> None:
        """Readers learn that the log is shorter; a little later the control plane repeats all."""
        for node in self.nodes.values():
            node.wake()

        def steps() -> Steps[None]:
            yield 10 * S
            self.reconnect()
            yield 20 * S
            for scope in sorted(self.truth.disasters):
                self.publishers[PUBLISHERS[0]].repeat(scope)

        self.loop.spawn("the control plane repeats", steps())

    # A run.

    def run(self) -> None:
        """Run the schedule and check every promise. Raises `Violation`."""
        try:
            self._begin()
            self._happen()
            self._heal()
            self._settle()
            self.check()
            if self.schedule.ages:
                self._age()
            if self.schedule.is_tracked:
                self.asker.check()
        except Overrun as error:
            raise Violation("it comes to rest", str(error)) from error

    def _begin(self) -> None:
        """Register the hosts, and start everybody."""
        rows = {}
        for host, pool in self.schedule.hosts.items():
            held = Held(1, Placement(pool, 0).row())
            text = scope_text(host_scope(host))
            rows[text] = held
            entry = JournalEntry(1, held.row, "begin", self.loop.now_us)
            number = ("begin", len(rows))
            where = JOURNALS[az_of(text, held.row)]
            partition = self.clusters[where.cluster].at(where)
            partition.append(text.encode(), encode_control(entry), self.loop.now_us, number)
            partition.commit(number)
        positions = {az: self.end_of(az) for az in JOURNALS}
        self.redis.memory = Memory(rows, positions, {}, counts_of(rows))
        self.audit.start()
        for publisher in self.publishers.values():
            publisher.start()
        for node in self.nodes.values():
            node.start()
        if self.schedule.is_swept:
            self.janitor.start()
        if self.schedule.is_tracked:
            self.tracker.start()
        for name in self.schedule.workers:
            applier = MemoryApplier()
            applier.open()
            self.workers[name] = Worker(self, name, applier)

    def _happen(self) -> None:
        for one in happenings(self.schedule):
            self.loop.run(START_US + one.at_us)
            self.audit.look()
            match one:
                case Publish():
                    self.note(one.publisher, f"publishes {one.id}: {_shown(one)}")
                    self.publishers[one.publisher].publish(one.changeset())
                case Relocate():
                    self.note(one.mover, f"is to move {one.scope} to {one.pool} ({one.id})")
                    wish = Wish(one.id, scope_of(one), one.pool)
                    self.loop.spawn(
                        f"{one.mover} moves {one.id}", self.movers[one.mover].move(wish)
                    )
                case Grow():
                    self.topic.grow(one.mover, one.partitions)
                case Register():
                    publisher = self.publishers[one.publisher]
                    publisher.register(one.host)
                case Drop():
                    self.note(one.mover, f"is to drop {one.vpc} in {one.cluster} ({one.id})")
                    mover = self.movers[one.mover]
                    dropping = mover.drop(one.id, one.vpc, one.cluster)
                    self.loop.spawn(f"{one.mover} drops {one.id}", dropping)
                case Rehome():
                    self.note(one.mover, f"is to rehome {one.vpc} in {one.cluster} ({one.id})")
                    mover = self.movers[one.mover]
                    coming = mover.rehome(one.id, Homecoming(one.vpc, one.cluster, ""))
                    self.loop.spawn(f"{one.mover} rehomes {one.id}", coming)
                case Fault():
                    self.note("fault", f"{one.kind} {one.who} {one.draw:.2f}")
                    ALL_FAULTS[one.kind].strike(self, one)
        self.loop.run(self.loop.now_us + 40 * S)
        self._has_happened = True

    def _heal(self) -> None:
        """Let everything that is broken work again; what died stays dead."""
        self.note("world", "everything is well again")
        self.network.down.clear()
        self.network.cut.clear()
        self.network.slowness, self.network.duplicates = 1.0, 0.0
        self.redis.isolated.clear()
        self.redis.break_connections()
        self.loop.thaw()
        self.tracker.deaths, self.tracker.refuses_until_us = -1, 0
        if self.schedule.is_tracked and self.tracker.service is None:
            self.tracker.start()
        for node in self.nodes.values():
            node.skew_us = node.refuses_until_us = node.slow_us = 0
            node.batch_max = 1_000
            node.effects_left = None
            self.start_node(node)
        self.reconnect()

    def _settle(self) -> None:
        """Let everybody finish what was begun."""
        deadline_us = self.loop.now_us + _PATIENCE_US
        while self.loop.now_us < deadline_us:
            # What an overtaken executor leaves behind is the janitor's to put right: without one
            # everybody ends what he began.
            if self.ledger.unfinished and self.schedule.is_swept:
                self.resume("mover1")
            self.loop.run(self.loop.now_us + 2 * MINUTE)
            if self._is_settled():
                break
        if self.schedule.grows:
            self.topic.grow("mover1", max(one.partitions for one in self.schedule.grows))
            self.loop.run(self.loop.now_us + 6 * MINUTE)
        for one in self.schedule.newcomers:
            # Whoever died on the way is made up for.
            self.publishers[PUBLISHERS[0]].register(one.host)
            self.loop.run(self.loop.now_us + S)
        self.loop.run(self.loop.now_us + 10 * MINUTE)

    def _is_settled(self) -> bool:
        if self.ledger.unfinished:
            return False
        accepted = self.truth.accepted_parts
        for publisher in self.publishers.values():
            for changeset, watch in publisher.watches.items():
                if any((scope, changeset) not in accepted for scope in watch.parts):
                    return False
        if any(one.is_behind() or not one.is_alive for one in self.workers.values()):
            return False
        return all(node.is_up and node.core.is_caught_up() for node in self.nodes.values())

    def check(self) -> None:
        """Check what must hold when all is done."""
        self.audit.look()
        self.invariants.check_moves()
        for node in self.nodes.values():
            self._check_is_up(node)
            self.invariants.check_node(node)
        if self.schedule.workers:
            self.invariants.check_workers()
        self.invariants.check_newcomers()
        self.invariants.check_receipts()
        if self.schedule.is_tracked:
            self.asker.check_changesets()
        self._check_fresh()

    def _check_is_up(self, node: Node) -> None:
        if not node.core.is_caught_up():
            raise Violation("every node catches up", node.host)

    def _check_fresh(self) -> None:
        """Start agents that know nothing, with the row that holds and with any that ever did."""
        entries = self.journal_entries()
        for host, node in self.nodes.items():
            text = scope_text(host_scope(host))
            old = _decided(entry for its, entry in entries if its == text)
            row = self.chance.choice((old[-1], self.held()[text].row, self.chance.choice(old)))
            self._compare(node, self._fresh(host, row))

    def _fresh(self, host: str, row: str) -> Node:
        """Return a node whose agent began with a row, from the log alone, and has caught up."""
        self.note(host, f"a fresh agent begins at {row}")
        self._numbers += 1
        fresh = self.make_node(host, f"fresh {host} {self._numbers}")
        scope = host_scope(host)
        held = Held(placements(scope, row)[0].epoch, row)
        memory = self.redis.memory
        self.redis.isolated[host] = memory._replace(rows={**memory.rows, scope_text(scope): held})
        hears_late = self.chance.random() < 0.5
        watchers = self._set_aside(host)
        fresh.start()
        self.loop.run(self.loop.now_us + 2 * S)
        if not hears_late:
            self.redis.isolated.pop(host)
        for _ in range(20):
            self.loop.run(self.loop.now_us + 20 * S)
            if fresh.core.is_caught_up():
                break
        self.loop.run(self.loop.now_us + 90 * S)
        fresh.die()
        self.redis.isolated.pop(host, None)
        for watched, act in watchers:
            watched[host] = act
        self.nodes[host].wake()
        self.loop.run(self.loop.now_us + 5 * S)
        self._check_is_up(fresh)
        return fresh

    def _set_aside(
        self, host: str
    ) -> list[tuple[dict[str, Callable[[], None]], Callable[[], None]]]:
        found = []
        for cluster in self.clusters.values():
            for partition in cluster.partitions.values():
                act = partition.watchers.pop(host, None)
                if act is not None:
                    found.append((partition.watchers, act))
        return found

    def _compare(self, node: Node, fresh: Node) -> None:
        self.invariants.check_same(node, fresh)

    def _age(self) -> None:
        """Let days pass: clean up, compact, forget deletes; then look again.

        One agent is away for less than half of the retention of deletes, another for longer.
        """
        for number, parts in enumerate(((0.2, 1, 1.5), (0.2, 4, 4.5, 8))):
            away = self._send_away(f"while-away-{number}")
            self.note("world", "days pass")
            for days in parts:
                self.loop.run(self.loop.now_us + int(days * DAY))
                self.compact()
            self.start_node(away)
            self.loop.run(self.loop.now_us + 5 * MINUTE)
            for node in self.nodes.values():
                self._check_is_up(node)
                self.invariants.check_node(node)
        self._check_fresh()

    def _send_away(self, name: str) -> Node:
        """Stop one agent, and delete something of its host meanwhile."""
        away = self.nodes[self.chance.choice(sorted(self.nodes))]
        if self.traps.runs_ahead():
            # Its clock was years ahead when it was heard of last, and is right when it comes back.
            self.invariants.clocks_differ = True
            away.skew_us = 3_650 * DAY
            away.reconnect()
            self.loop.run(self.loop.now_us + 30 * S)
        away.die()
        away.skew_us = 0
        for key, sent in self.truth.sent.items():
            newest = self.truth.highest(key)
            if key.scope == host_scope(away.host) and sent[newest].op is Op.UPSERT:
                gone = Resource(key.scope, key.kind, key.id, newest + 1, {}, Op.DELETE)
                self.publishers[PUBLISHERS[1]].publish(Changeset(name, (gone,)))
                break
        return away


def _decided(entries: Iterable[JournalEntry]) -> list[str]:
    """Return the rows that held one after the other; what came second at an epoch never did."""
    rows: list[str] = []
    held: Held | None = None
    for entry in entries:
        after = better(held, entry)
        if after != held:
            rows.append(after.row)
        held = after
    return rows


def _shown(one: Publish) -> str:
    return ", ".join(
        f"{item.scope}/{item.kind}/{item.id} {item.revision}{'' if item.spec is not None else ' gone'}"
        for item in one.items
    )


__all__ = ["MS", "World"]

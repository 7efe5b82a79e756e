"""The promises, as what must hold at every step and at the end.

The rule: each is judged against what really happened (`truth`), never against what a part of the
system believes; and each violation names the promise, who broke it, and with what.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from southbound.nca import effects as ef
from southbound.nca.plan import Plan
from southbound.nca.state import Status
from southbound.partitioning.allocation import FIRST_PROBES, slot_index, slot_indexes
from southbound.partitioning.placement import parse_placement
from southbound.resources import (
    PORT,
    Op,
    ResourceKey,
    Scope,
    ScopeClass,
    host_scope,
    references,
    vpc_of_port,
    vpc_scope,
)
from southbound.wire.envelope import decode
from southbound.wire.keys import decode_key, encode_key, scope_prefix
from southbound.wire.reports import Outcome
from tests.simulation.directory import counts_of
from tests.simulation.fleet import CROWD_POOLS, JOURNALS, PUBLIC_PARTITIONS, TOPOLOGY, slots
from tests.simulation.loop import S

if TYPE_CHECKING:
    from tests.simulation.node import Node
    from tests.simulation.worker import Worker
    from tests.simulation.world import World

Resources = Mapping[ResourceKey, tuple[int, Mapping[str, Any]]]

_HOLD_US = 20 * S


class Violation(Exception):
    """A promise was broken. `promise` is its short name."""

    def __init__(self, promise: str, what: str) -> None:
        self.promise = promise
        super().__init__(f"{promise}: {what}")


class Invariants:
    """Watches one world. `clocks_differ`: wall clocks of agents were far off at some time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.clocks_differ = False
        self._planned: defaultdict[str, dict[ResourceKey, int]] = defaultdict(dict)
        self._this_life: defaultdict[str, set[tuple[ResourceKey, int]]] = defaultdict(set)
        self._ever: defaultdict[str, dict[ResourceKey, set[int]]] = defaultdict(dict)

    # While it runs.

    def died(self, node: Node) -> None:
        """Note that a life of an agent has ended."""
        self._this_life[node.name].clear()

    def lost_memory(self, node: Node) -> None:
        """Note that a disk is not what it was: what was done may be done again."""
        self._planned[node.name].clear()

    def applied(
        self, node: Node, plan: Plan, failures: Mapping[ResourceKey, str], before: Resources
    ) -> None:
        """Judge a plan that was just applied."""
        self._check_memory(node, plan)
        self._check_snapshots(node, plan)
        self._check_revisions(node, plan, failures, before)
        self._check_removals(node, before)
        self._check_whole(node, plan)
        self._check_order(node, plan, failures, before)

    def _check_order(
        self, node: Node, plan: Plan, failures: Mapping[ResourceKey, str], before: Resources
    ) -> None:
        """Nothing is applied before what it refers to, nor outlives it within a plan."""
        there = {key for key in before if key.scope not in plan.complete}
        gone: set[ResourceKey] = set()
        for change in plan.changes:
            if change.op is Op.DELETE:
                gone.add(change.key)
                continue
            for ref in references(change.key, change.spec):
                entry = node.disk.state.entries.get(ref)
                has_failed = entry is not None and entry.status is Status.FAILED
                if ref not in there and ref not in failures and not has_failed:
                    raise Violation("in order", f"{node.host}: {change.key} before {ref}")
                if ref in gone:
                    raise Violation("in order", f"{node.host}: {change.key} behind {ref}'s delete")
            there.add(change.key)

    def _check_snapshots(self, node: Node, plan: Plan) -> None:
        """Of a scope that is read as a whole nothing comes before the end, where it is outdated."""
        for change in plan.changes:
            stream = node.core._positions.get(change.key.scope)
            snapshot = None if stream is None else stream.snapshot
            if snapshot is None or snapshot.at_end or snapshot.high is None:
                continue
            assert stream is not None
            assert stream.address is not None
            if change.key in self._planned[node.name]:
                continue
            log = self._world.clusters[stream.address.cluster].at(stream.address)
            wire_key = encode_key(change.key)
            for one in log.read(stream.placement.start, snapshot.high):
                is_its = one.key == wire_key and one.value is not None
                if is_its and decode(one.value or b"").revision > change.revision:
                    what = f"{node.host}: {change.key} {change.revision}"
                    raise Violation("a snapshot is one", what)

    def _check_memory(self, node: Node, plan: Plan) -> None:
        for change in plan.changes:
            held = node.disk.state.entries.get(change.key)
            if held is None or held.revision < change.revision:
                raise Violation(
                    "persist before apply", f"{node.host}: {change.key} {change.revision}"
                )

    def _check_revisions(
        self, node: Node, plan: Plan, failures: Mapping[ResourceKey, str], before: Resources
    ) -> None:
        planned, life = self._planned[node.name], self._this_life[node.name]
        for change in plan.changes:
            key, revision = change.key, change.revision
            if revision < planned.get(key, 0):
                raise Violation(
                    "revisions never go backwards",
                    f"{node.host}: {key} {revision} after {planned[key]}",
                )
            stood = change.op is Op.UPSERT and before.get(key, (0,))[0] == revision
            if stood and (key, revision) in life and key.scope not in plan.complete:
                raise Violation("applied once", f"{node.host}: {key} {revision} again")
            planned[key] = revision
            if key not in failures:
                if change.op is Op.UPSERT:
                    life.add((key, revision))
                self._ever[node.name].setdefault(key, set()).add(revision)

    def _check_removals(self, node: Node, before: Resources) -> None:
        """What was accepted and not deleted since goes only with its scope."""
        truth = self._world.truth
        for key, (revision, _) in before.items():
            if key in node.applier.resources or key.scope in truth.disasters:
                continue
            sent = truth.sent[key]
            if revision > truth.accepted.get(key, 0):
                # One replica alone told of it, and nobody had accepted it: what is read in another
                # cluster does not hold it yet, and perhaps what came before it.
                self._planned[node.name].pop(key, None)
            is_deleted = any(one.op is Op.DELETE and at > revision for at, one in sent.items())
            if is_deleted or revision > truth.accepted.get(key, 0) or not self._wants(node, key):
                continue
            raise Violation("nothing is taken down", f"{node.host}: {key} {revision}")

    def _wants(self, node: Node, key: ResourceKey) -> bool:
        if key.scope.cls is ScopeClass.HOST:
            return True
        return key.scope.id in vpcs_of(node.host, node.applier.resources)

    def _check_whole(self, node: Node, plan: Plan) -> None:
        """A changeset that arrived in time is there as a whole, or superseded, after every plan."""
        if self.clocks_differ:
            return
        seen: set[tuple[Scope, str]] = set()
        for change in plan.changes:
            part = (change.key.scope, change.changeset)
            known = self._world.truth.parts.get(part)
            if part in seen or known is None or len(known.members) < 2:
                continue
            seen.add(part)
            if self._world.loop.now_us > known.sent_us + _HOLD_US:
                continue
            entries = node.disk.state.entries
            for key, revision in known.members.items():
                held = entries.get(key)
                if held is None or held.revision < revision:
                    if self._is_copied(part):
                        break
                    raise Violation(
                        "changesets are whole",
                        f"{node.host}: {change.key} of {change.changeset} without {key}",
                    )

    def _is_copied(self, part: tuple[Scope, str]) -> bool:
        """Copies are taken singly: a set that was copied by a move may come in pieces."""
        scope, changeset = part
        prefix = scope_prefix(scope)
        for where in slots():
            for one in self._world.clusters[where.cluster].at(where).records:
                if one.value is None or not one.key.startswith(prefix):
                    continue
                if not one.key.startswith(b"!", len(prefix)):
                    envelope = decode(one.value)
                    if envelope.copied and envelope.changeset == changeset:
                        return True
        return False

    def told(self, node: Node, effect: ef.Send) -> None:
        """Judge a report that is about to be sent."""
        if not effect.inventory and effect.seq not in node.disk.state.owed:
            raise Violation("remembered before it is told", f"{node.host}: {effect.entries}")
        for line in effect.entries:
            key = decode_key(line.key)
            if line.outcome is not Outcome.APPLIED or not line.changeset:
                continue
            if line.revision in self._ever[node.name].get(key, ()):
                continue
            if line.deleted and key not in node.applier.resources:
                continue
            raise Violation("told is done", f"{node.host}: {key} {line.revision} was never applied")

    def served(self, worker: Worker, plan: Plan) -> None:
        """A public resource never stands with two workers that are members at once."""
        others = [
            one
            for one in self._world.workers.values()
            if one is not worker and one.is_alive and self._world.group.is_member(one)
        ]
        if not self._world.group.is_member(worker):
            return
        for change in plan.changes:
            if change.op is Op.UPSERT and any(
                change.key in one.applier.resources for one in others
            ):
                raise Violation("one worker serves it", f"{worker.name}: {change.key}")

    def allocated(self, host: str, row: str) -> None:
        """A host that comes gets the emptier of two slots, by what the journal and Redis hold."""
        if not self._world.is_directory_calm:
            return
        counts = self._counted(without=host)
        placement = parse_placement(row)
        pool = TOPOLOGY.pool(placement.pool)
        pair = [
            counts[pool.id, number] for number in slot_indexes("host", host, pool, FIRST_PROBES)
        ]
        if placement.probe < FIRST_PROBES and pair[placement.probe] > min(pair):
            raise Violation("the emptier of two is taken", f"{host}: {row} of {pair}")
        taken = counts[pool.id, slot_index("host", host, pool, placement.probe)]
        if taken >= pool.max_per_slot:
            raise Violation("no slot is overfull", f"{host}: {row}: {taken}")

    def shared_out(self, text: str, number: int) -> None:
        """A public resource gets a partition that is there, and that holds the fewest."""
        world, counts = self._world, Counter[int]()
        if number >= world.topic.partitions:
            raise Violation("a partition is there before it is given", f"{text}: {number}")
        if not world.is_directory_calm:
            return
        held = {one: row for one, row in world.held().items() if one.startswith("p")}
        counts.update(int(row.row) for one, row in held.items() if one != text)
        counts.update(
            slot[1]
            for (one, _), slot in world.redis.memory.reserved.items()
            if one.startswith("p") and one not in held and one != text
        )
        known = range(world.redis.memory.partitions)
        if counts[number] > min(counts[one] for one in known):
            raise Violation("partitions are filled evenly", f"{text}: {number} of {counts}")

    def refused(self, host: str) -> None:
        """Who is told that there is no room has been told the truth."""
        if self._world.is_directory_calm:
            self._check_full(host, self._counted())

    def _check_full(self, host: str, counts: Counter[tuple[str, int]]) -> None:
        for id in CROWD_POOLS:
            pool = TOPOLOGY.pool(id)
            for number in slot_indexes("host", host, pool):
                if counts[id, number] < pool.max_per_slot:
                    raise Violation("there is room for who comes", f"{host}: {id} {number}")

    def _counted(self, without: str = "") -> Counter[tuple[str, int]]:
        """Return how many the slots hold: by the journal, and what is reserved for who has no row."""
        held = {text: one for text, one in self._world.held().items() if text.startswith("h")}
        counts = Counter(counts_of({t: one for t, one in held.items() if t[2:] != without}))
        counts.update(
            slot
            for (text, _), slot in self._world.redis.memory.reserved.items()
            if text not in held and text[2:] != without
        )
        return counts

    # At the end.

    def check_newcomers(self) -> None:
        """Whoever came has a place, or there was none; and nothing is reserved any more."""
        world, counts = self._world, self._counted()
        rows = {text[2:] for text in world.held() if text.startswith("h")}
        for host in {one.host for one in world.schedule.newcomers}:
            if host in rows:
                continue
            if host not in world.refused:
                raise Violation("every host gets an answer", host)
            self._check_full(host, counts)
        for text, epoch in world.redis.memory.reserved:
            if world.schedule.newcomers and epoch == 1 and text.startswith("h"):
                raise Violation("no reservation stays behind", text)

    def check_workers(self) -> None:
        """Each public resource stands with one worker as it was accepted last; deleted ones with none."""
        world = self._world
        for key, accepted in world.truth.accepted.items():
            if key.scope.cls is not ScopeClass.PUBLIC:
                continue
            held = [
                one.applier.resources[key][0]
                for one in world.workers.values()
                if key in one.applier.resources
            ]
            is_gone = world.truth.sent[key][world.truth.highest(key)].op is Op.DELETE
            if world.truth.highest(key) > accepted:
                continue
            if held != ([] if is_gone else [accepted]):
                raise Violation("one worker serves it", f"{key} {accepted}: {held}")
        counts = Counter(
            one.row for text, one in world.redis.memory.rows.items() if text.startswith("p")
        )
        spread = [counts[str(number)] for number in range(PUBLIC_PARTITIONS)]
        is_calm = world.is_directory_calm and not world.schedule.grows
        if is_calm and max(spread) - min(spread) > 1:
            raise Violation("partitions are filled evenly", str(spread))
        shares = [len(one) for one in world.group.shares.values()]
        if shares and max(shares) - min(shares) > 1:
            raise Violation("workers share evenly", str(world.group.shares))

    def applied_of(self, host: str, key: ResourceKey) -> set[int]:
        """Return the revisions of a resource that a host has ever applied."""
        return self._ever[host].get(key, set())

    def check_node(self, node: Node) -> None:
        """A node that has caught up has everything accepted that it should have, and holds nothing."""
        held = node.core.gauges().held
        if held:
            raise Violation("nothing is held for ever", f"{node.host}: {held} records")
        self._check_has(node, node.host, node.applier.resources)

    def _check_has(self, node: Node, who: str, resources: Resources) -> None:
        truth = self._world.truth
        scopes = {host_scope(node.host), *map(vpc_scope, self._wanted_vpcs(node.host, resources))}
        for key, accepted in truth.accepted.items():
            if key.scope not in scopes:
                continue
            held = resources.get(key)
            if held is not None:
                if held[0] < accepted:
                    raise Violation(
                        "no accepted change is lost", f"{who}: {key} {held[0]} < {accepted}"
                    )
                self._check_content(who, key, held)
            elif not self._may_lack(node, key, accepted):
                raise Violation(
                    "no accepted change is lost", f"{who}: {key} {accepted} is not there"
                )
        for key, held in resources.items():
            if key.scope not in scopes:
                if self._may_follow(node.host, key.scope.id):
                    continue
                raise Violation("a node has what it should", f"{who}: {key} of a VPC it left")
            self._check_content(who, key, held)

    def _may_follow(self, host: str, vpc: str) -> bool:
        """A port that waits, or that nobody knows to be accepted, is followed into its VPC, too."""
        truth = self._world.truth
        return any(
            at >= truth.accepted.get(key, 0)
            and one.op is Op.UPSERT
            and vpc_of_port(one.spec) == vpc
            for key, sent in truth.sent.items()
            if key.scope == host_scope(host) and key.kind == PORT
            for at, one in sent.items()
        )

    def _check_content(self, who: str, key: ResourceKey, held: tuple[int, Any]) -> None:
        sent = self._world.truth.sent[key].get(held[0])
        if sent is None or sent.op is not Op.UPSERT or dict(sent.spec) != dict(held[1]):
            raise Violation("what stands was sent", f"{who}: {key} {held}")

    def _wanted_vpcs(self, host: str, resources: Resources) -> set[str]:
        """The VPCs of the ports that the host should have: those that stand, and those parked."""
        found = vpcs_of(host, resources)
        truth = self._world.truth
        for key, accepted in truth.accepted.items():
            if key.scope == host_scope(host) and key.kind == PORT:
                newest = truth.sent[key][truth.highest(key)]
                if truth.highest(key) == accepted and newest.op is Op.UPSERT:
                    vpc = vpc_of_port(newest.spec)
                    found |= {vpc} if vpc else set()
        return found

    def _may_lack(self, node: Node, key: ResourceKey, accepted: int) -> bool:
        """It was deleted by that or a later revision, or waits for what it refers to."""
        sent = self._world.truth.sent[key]
        later = {at: one for at, one in sent.items() if at >= accepted}
        if any(one.op is Op.DELETE for one in later.values()):
            return True
        entry = node.core._desired.get(key)
        if entry is None or entry.revision < accepted or entry.status is not Status.PARKED:
            return False
        there = node.applier.resources
        return any(ref not in there for ref in references(key, sent[entry.revision].spec))

    def check_same(self, node: Node, fresh: Node) -> None:
        """A fresh agent, from the log alone, has the state of the one that was there all along."""
        self._check_has(fresh, f"fresh {fresh.host}", fresh.applier.resources)
        truth = self._world.truth
        mine, theirs = node.applier.resources, fresh.applier.resources
        for key in mine.keys() | theirs.keys():
            if mine.get(key) == theirs.get(key) or truth.highest(key) > truth.accepted.get(key, 0):
                continue
            if self._hangs_on_unaccepted(key):
                continue
            raise Violation(
                "a fresh agent gets the exact state",
                f"{fresh.host}: {key}: {theirs.get(key)} instead of {mine.get(key)}",
            )

    def _hangs_on_unaccepted(self, key: ResourceKey) -> bool:
        """What refers to something that was never accepted may stand here and wait there."""
        truth = self._world.truth
        newest = truth.sent[key].get(truth.highest(key))
        if newest is None or newest.op is Op.DELETE:
            return False
        refs = list(references(key, newest.spec))
        return any(truth.highest(ref) > truth.accepted.get(ref, 0) for ref in refs) or (
            key.scope.cls is ScopeClass.VPC and self._has_unaccepted_ports(key.scope.id)
        )

    def _has_unaccepted_ports(self, vpc: str) -> bool:
        truth = self._world.truth
        return any(
            key.kind == PORT and truth.highest(key) > truth.accepted.get(key, 0)
            for key in list(truth.sent)
        )

    def check_receipts(self) -> None:
        """What was accepted is told to be applied, superseded, failed or pending: nobody is silent."""
        truth = self._world.truth
        if truth.given_up:
            raise Violation("every change ends", f"given up: {truth.given_up}")
        for publisher in self._world.publishers.values():
            for changeset, watch in publisher.watches.items():
                for scope, part in watch.parts.items():
                    if (scope, changeset) not in truth.accepted_parts:
                        raise Violation("every change ends", f"{changeset} {scope} is not accepted")
                    self._check_part(changeset, scope, part)
                self._check_applied(changeset, publisher.applied(changeset))

    def _check_part(self, changeset: str, scope: Scope, part: Any) -> None:
        if part.expected is None:
            raise Violation("receipts are settled", f"{changeset} {scope}: nobody is expected")
        for host in part.expected:
            if scope.cls is ScopeClass.HOST and host not in self._world.nodes:
                continue
            if scope.cls is ScopeClass.PUBLIC and not self._world.workers:
                continue
            if host in part.final or not self.still_follows(host, scope):
                continue
            told = part.told.get(host, {})
            for key in part.revisions:
                if key not in told:
                    raise Violation(
                        "receipts are settled", f"{changeset}: {host} keeps silent of {key!r}"
                    )

    def still_follows(self, host: str, scope: Scope) -> bool:
        """Tell whether a scope is a host's own, or a VPC of one of its ports."""
        if scope.cls is not ScopeClass.VPC:
            return True
        return scope.id in vpcs_of(host, self._world.nodes[host].applier.resources)

    def _check_applied(self, changeset: str, applied: Any) -> None:
        """Who is told to have applied all of it has, of what reaches it."""
        truth = self._world.truth
        for host in applied.applied:
            ever = self._ever[host]
            for (scope, set_id), part in truth.parts.items():
                if set_id != changeset or scope != host_scope(host):
                    continue
                for key, revision in part.members.items():
                    sent = truth.sent[key][revision]
                    if revision not in ever.get(key, ()) and sent.op is not Op.DELETE:
                        raise Violation("told is done", f"{changeset}: {host}: {key} {revision}")
        for host in applied.pending:
            follows = all(
                self.still_follows(host, scope)
                for scope, set_id in truth.parts
                if set_id == changeset and scope.cls is ScopeClass.VPC
            )
            if follows and self._world.nodes[host].core.gauges().parked == 0:
                raise Violation("receipts are settled", f"{changeset}: {host} waits for nothing")
        if applied.failed:
            raise Violation("receipts are settled", f"{changeset}: failed {applied.failed}")

    def check_moves(self) -> None:
        """Every move has ended, and the journal's last entry of each scope is the one that holds."""
        unfinished = self._world.ledger.unfinished
        if unfinished:
            raise Violation("every move ends", str(unfinished))
        last = dict(self._world.journal_entries())
        for text, held in self._world.held().items():
            if (last[text].epoch, last[text].row) != (held.epoch, held.row):
                raise Violation("the journal's last entry holds", f"{text}: {last[text]}, {held}")
        self._check_redis()

    def _check_redis(self) -> None:
        """A Redis that knows every journal to its end repeats them, and counts what its rows say."""
        world, memory = self._world, self._world.redis.memory
        if any(memory.positions.get(az, -1) < world.end_of(az) for az in JOURNALS):
            return
        for text, held in world.held().items():
            row = memory.rows.get(text)
            if row != held:
                raise Violation("Redis repeats the journal", f"{text}: {row}, not {held}")
        for text, epoch in memory.reserved:
            if text in memory.rows and epoch <= memory.rows[text].epoch:
                raise Violation("reservations end with their epoch", f"{text} {epoch}")
        counts = Counter(counts_of(memory.rows))
        counts.update(memory.reserved.values())
        if +counts != +Counter(memory.counts):
            raise Violation("slots are counted by the rows", f"{memory.counts}, not {counts}")


def vpcs_of(host: str, resources: Resources) -> set[str]:
    """Return the VPCs of the ports that a host has."""
    scope = host_scope(host)
    found = {
        vpc_of_port(spec)
        for key, (_, spec) in resources.items()
        if key.scope == scope and key.kind == PORT
    }
    return {vpc for vpc in found if vpc is not None}

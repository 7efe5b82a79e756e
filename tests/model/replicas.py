"""A VPC's replica is dropped while a port of the VPC comes into its cluster (docs/decisions/0024).

The VPC has its home in one cluster and a replica in another, where no port is left. One drops the
replica, one publishes a port there and believes in any row that there ever was, one publishes a
change of the VPC, and the port's host may be moving between two slots of the cluster meanwhile. How a
replica is seeded is gone through elsewhere (`executors.py`); here it is three steps: the row, the
fence, the copies.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

_HOME = -1
_CHANGE = 2
_PORT, _MARKER, _SEAL = "port", "marker", "seal"


class ReplicaFault(enum.Enum):
    """A bug to plant."""

    NO_LAST_LOOK = "a replica is dropped without a last look for ports"
    LOOK_FIRST = "the last look for ports before the replica's cluster is told"
    UNTOLD = "a dropped replica is told to the home's fence alone"
    STALE_PRESENCE = "who publishes a port trusts that its VPC is present, whatever its fence tells"
    NO_MARKER = "a dropped replica without a marker"
    MARKER_ENDS = "a port counts as gone at a marker within its cluster"


class Row(NamedTuple):
    """The VPC's row: its epoch, and the slot of the replica; None: there is no replica."""

    epoch: int
    slot: int | None


class Sender(NamedTuple):
    """Who publishes the VPC's change: the row that it believes in, and where it has delivered.

    `row` is None before the look-up. For the home's slot, which never moves, `_HOME` is noted.
    """

    row: Row | None = None
    sent: frozenset[int] = frozenset()
    accepted: bool = False


class Hand(NamedTuple):
    """How far somebody is: what is to be done next, and what after that, where it is not clear.

    `known`: the epoch of the row by which a publisher holds the VPC for present.
    """

    todo: str
    then: str = ""
    known: int = 0


class Scene(NamedTuple):
    """Everything. `home` and `replicas` are slots of the VPC: its replica's, and that of the one
    that comes after it; `slots` are the two of the host.

    `told_home`, `told_there`: the highest epochs in `sb.moves` of the home's cluster and of the
    replica's; `host_told`: there it says that the host has gone to its second slot.
    """

    rows: tuple[Row, ...]
    home: tuple[int, ...]
    replicas: tuple[tuple[int, ...], tuple[int, ...]]
    slots: tuple[tuple[str, ...], tuple[str, ...]]
    told_home: int
    told_there: int
    host_told: bool
    sender: Sender
    port: Hand
    dropper: Hand
    mover: Hand


_Step = tuple[str, Scene]


class Replicas:
    """The model. `moving`: the host moves meanwhile. See `engine.Model`."""

    def __init__(self, *, moving: bool = False, fault: ReplicaFault | None = None) -> None:
        self._moving = moving
        self._fault = fault

    def initial(self) -> Scene:
        """Return the beginning: revision 1 is everywhere, and no port is in the cluster."""
        return Scene(
            rows=(Row(1, 0),),
            home=(1,),
            replicas=((1,), ()),
            slots=((), ()),
            told_home=1,
            told_there=0,
            host_told=False,
            sender=Sender(),
            port=Hand("look up"),
            dropper=Hand("look for ports"),
            mover=Hand("tell" if self._moving else ""),
        )

    def successors(self, scene: Scene) -> list[_Step]:
        """Return what everybody can do."""
        steps = [self._send(scene), self._publish(scene), self._drop(scene), self._move(scene)]
        return [step for those in steps for step in those]

    def is_final(self, scene: Scene) -> bool:
        """Tell whether everybody is done."""
        hands = (scene.port, scene.dropper, scene.mover)
        return scene.sender.accepted and all(hand.todo == "" for hand in hands)

    def problem(self, scene: Scene) -> str | None:
        """Say what the host lacks once all is done, whatever row its agent begins with."""
        if not self.is_final(scene):
            return None
        if scene.rows[-1].slot is None:
            return "the port was accepted, and its VPC stays away from the cluster"
        for row in scene.rows:
            if row.slot is not None and self._follow(scene, row) < _CHANGE:
                return f"an agent that follows the replica of epoch {row.epoch} lacks the change"
        return None

    def _follow(self, scene: Scene, row: Row) -> int:
        """Return what an agent has that reads a replica from its start, and where a marker leads."""
        assert row.slot is not None
        held = 0
        for record in scene.replicas[row.slot]:
            if record < 0 and -record > row.epoch:
                return max(held, *scene.home)
            held = max(held, record)
        return held

    # The VPC's change.

    def _send(self, scene: Scene) -> Iterator[_Step]:
        one = scene.sender
        if one.accepted:
            return
        if one.row is None:
            for row in scene.rows:
                yield f"the change is for epoch {row.epoch}", scene._replace(sender=Sender(row))
            return
        targets = {_HOME} if one.row.slot is None else {_HOME, one.row.slot}
        for target in targets - one.sent:
            sender = one._replace(sent=one.sent | {target})
            name = "home" if target == _HOME else f"replica in slot {target}"
            yield f"the change reaches the {name}", _added(scene, target)._replace(sender=sender)
        if targets <= one.sent:
            yield self._look(scene)

    def _look(self, scene: Scene) -> _Step:
        one = scene.sender
        assert one.row is not None
        if scene.told_home <= one.row.epoch:
            return "the change is accepted", scene._replace(sender=one._replace(accepted=True))
        row = next(row for row in scene.rows if row.epoch == scene.told_home)
        return "the change is turned", scene._replace(sender=one._replace(row=row))

    # The port.

    def _publish(self, scene: Scene) -> Iterator[_Step]:
        hand = scene.port
        if hand.todo == "look up":
            for row in scene.rows:
                is_there = row.slot is not None
                todo = Hand("deliver" if is_there else "propose", "deliver", row.epoch)
                yield f"the port is for epoch {row.epoch}", scene._replace(port=todo)
        elif hand.todo == "deliver":
            at = int(scene.host_told and _PORT in scene.slots[0])
            after = _written(scene, at, _PORT)
            yield f"the port reaches slot {at}", after._replace(port=hand._replace(todo="look"))
        elif hand.todo == "look":
            yield "the publisher of the port looks", scene._replace(port=self._verdict(scene))
        elif hand.todo:
            name, after, done = _seed(scene, hand)
            yield f"the publisher of the port {name}", after._replace(port=done)

    def _verdict(self, scene: Scene) -> Hand:
        if scene.host_told and _PORT not in scene.slots[1]:
            return scene.port._replace(todo="deliver")
        trusts = self._fault is ReplicaFault.STALE_PRESENCE
        if scene.told_there <= scene.port.known or trusts:
            return Hand("")
        return Hand("propose", "look", scene.port.known)

    # The drop.

    def _drop(self, scene: Scene) -> Iterator[_Step]:
        hand = scene.dropper
        if hand.todo in {"", "done"}:
            return
        name, after, then = self._dropping(scene, hand)
        yield f"the dropper {name}", after._replace(dropper=then)

    def _dropping(self, scene: Scene, hand: Hand) -> tuple[str, Scene, Hand]:
        is_hasty = self._fault is ReplicaFault.LOOK_FIRST
        match hand.todo:
            case "look for ports":
                then = "" if self._has_port(scene) else "decide"
                return "looks for ports", scene, Hand(then)
            case "decide":
                row = Row(scene.rows[-1].epoch + 1, None)
                return "decides", scene._replace(rows=(*scene.rows, row)), Hand("tell home")
            case "tell home":
                told = max(scene.told_home, self._dropped(scene).epoch)
                then = "look again" if is_hasty else "tell there"
                return "tells the home's fence", scene._replace(told_home=told), Hand(then)
            case "tell there":
                untold = self._fault is ReplicaFault.UNTOLD
                told = scene.told_there if untold else self._dropped(scene).epoch
                return "tells the cluster", scene._replace(told_there=told), Hand("mark", hand.then)
            case "mark":
                return self._mark(scene, hand, is_hasty=is_hasty)
            case "look again":
                return self._look_again(scene, is_hasty=is_hasty)
        return _seed(scene, hand)

    def _mark(self, scene: Scene, hand: Hand, *, is_hasty: bool) -> tuple[str, Scene, Hand]:
        then = Hand(hand.then) if is_hasty else Hand("look again")
        if self._fault is ReplicaFault.NO_MARKER:
            return "marks nothing", scene, then
        marker = -self._dropped(scene).epoch
        return "marks the replica's slot", _added(scene, 0, marker), then

    def _look_again(self, scene: Scene, *, is_hasty: bool) -> tuple[str, Scene, Hand]:
        needed = self._has_port(scene) and self._fault is not ReplicaFault.NO_LAST_LOOK
        todo = "propose" if needed else ""
        return "looks again", scene, Hand("tell there", todo) if is_hasty else Hand(todo)

    def _dropped(self, scene: Scene) -> Row:
        return next(row for row in scene.rows if row.slot is None)

    def _has_port(self, scene: Scene) -> bool:
        """Read both slots of the host as they are at one moment."""
        first, second = scene.slots
        if _PORT in second:
            return True
        if self._fault is ReplicaFault.MARKER_ENDS:
            return _PORT in first and _MARKER not in first
        return _PORT in first and _SEAL not in second

    # The host.

    def _move(self, scene: Scene) -> Iterator[_Step]:
        match scene.mover.todo:
            case "tell":
                yield "the host's going is told", scene._replace(host_told=True, mover=Hand("mark"))
            case "mark":
                marked = _written(scene, 0, _MARKER)
                yield "the host's slot is marked", marked._replace(mover=Hand("copy"))
            case "copy":
                is_lacking = _PORT in scene.slots[0] and _PORT not in scene.slots[1]
                copied = _written(scene, 1, _PORT) if is_lacking else scene
                yield "the delta is copied", copied._replace(mover=Hand("seal"))
            case "seal":
                yield "the new slot is sealed", _written(scene, 1, _SEAL)._replace(mover=Hand(""))


def _written(scene: Scene, at: int, what: str) -> Scene:
    slots = list(scene.slots)
    slots[at] = (*slots[at], what)
    return scene._replace(slots=(slots[0], slots[1]))


def _added(scene: Scene, slot: int, record: int = _CHANGE) -> Scene:
    """Append to a slot of the VPC: a revision, or the negative epoch of a marker."""
    if slot == _HOME:
        return scene._replace(home=(*scene.home, record))
    logs = list(scene.replicas)
    logs[slot] = (*logs[slot], record)
    return scene._replace(replicas=(logs[0], logs[1]))


def _seed(scene: Scene, hand: Hand) -> tuple[str, Scene, Hand]:
    """Take a step of seeding the replica anew; somebody else may be at it, too."""
    newest = scene.rows[-1]
    if hand.todo == "propose":
        if newest.slot is None:
            newest = Row(newest.epoch + 1, 1)
            scene = scene._replace(rows=(*scene.rows, newest))
        return "proposes the replica", scene, Hand("tell", hand.then, newest.epoch)
    if hand.todo == "tell":
        told = max(scene.told_home, newest.epoch)
        return "tells of the replica", scene._replace(told_home=told), hand._replace(todo="copy")
    assert hand.todo == "copy"
    assert newest.slot is not None, "it is dropped once"
    highest = max(scene.home)
    if max(scene.replicas[newest.slot], default=0) < highest:
        scene = _added(scene, newest.slot, highest)
    return "copies and seals", scene, Hand(hand.then, "", hand.known)

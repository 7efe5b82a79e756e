"""Named places at which a process can be made to die, to fail or to be late: for tests of faults.

The rule: every durable step has one on each side of it, each stands in `POINTS`, and each is killed
at by a test (`tests/faults`). They lie beside requests and system calls, which are made for a batch
and never for a record, and cost one look at `armed` when nobody uses them:

    if failpoints.armed:
        failpoints.armed.reach("agent.store.before")

A process is armed by its environment, once, when it starts:

    SOUTHBOUND_FAILPOINTS="agent.store.before=kill@2;tracker.store.after=delay:0.5"

An action is `kill` (the process ends as by SIGKILL), `error` (a retryable `EdgeError`) or
`delay:SECONDS`. `@2` is the second time that the place is reached, `@2+` every time from then on;
without either it is every time.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from southbound.errors import ConfigError, EdgeError, Fault

VARIABLE = "SOUTHBOUND_FAILPOINTS"

STEPS: Mapping[str, str] = {
    "store": "the records of moves in the ledger",
    "reserve": "slots for what moves",
    "precopy": "what stood in the old slots",
    "appendjournal": "the decision",
    "announcemoves": "who has left, in `sb.moves`",
    "flip": "Redis told",
    "mark": "the markers",
    "delta": "what old slots gained meanwhile",
    "mend": "the new slots in order",
    "seal": "the seals",
    "release": "the old slots' room given back",
    "add": "a replica of a VPC",
    "home": "another home of a VPC",
}
"""What an executor writes, by the name of its step."""

POINTS: Mapping[str, str] = MappingProxyType(
    {
        # Agent.
        "agent.store.before": "a batch is judged, and nothing of it is stored",
        "agent.store.after": "a batch is stored, and nothing of it is applied",
        "agent.apply.before": "a plan is stored, and the applier was not called",
        "agent.apply.after": "the applier has done a plan, and nobody noted its outcome",
        "agent.snapshot.before": "a snapshot is stored as complete, and what it lacks still stands",
        "agent.snapshot.after": "what a snapshot lacks is gone, and nobody noted it",
        "agent.assign.before": "where to read (behind a marker, say) is stored, and not yet read",
        "agent.assign.after": "the streams are read from where they go on",
        "agent.report.before": "a report is owed and stored, and was not sent",
        "agent.report.after": "a report is acknowledged, and still owed",
        # The file applier.
        "applier.file.before": "a document is in its temporary file",
        "applier.file.after": "a document stands in its place",
        "applier.link.before": "a scope's new version is whole, and its link leads to the old one",
        "applier.link.after": "the link leads to the new version, and the old one is still there",
        # Publisher.
        "publisher.buffer.after": "parts are taken in, and not produced",
        "publisher.produce.after": "records are handed over, and nobody looked for answers",
        "publisher.ack.after": "parts are acknowledged, and nobody looked at `sb.moves`",
        "publisher.fence.after": "`sb.moves` is read behind the deliveries, and nothing judged",
        "publisher.receipt.before": "parts are judged, and no receipt is settled",
        # Executor of plans.
        **{
            f"executor.{step}.{side}": f"{side}: {what}"
            for step, what in STEPS.items()
            for side in ("before", "after")
        },
        # Directory.
        "directory.append.before": "a slot is reserved in Redis, and the journal knows nothing",
        "directory.append.after": "the journal has an entry, and nobody has read it back",
        "directory.apply.before": "what holds was read back, and Redis does not know it",
        "directory.apply.after": "Redis knows what holds, and nobody was told",
        # Tracker.
        "tracker.store.before": "a transaction is complete, and not committed",
        "tracker.store.after": "a transaction is committed, and nobody was told",
        "tracker.answer.before": "a question is answered, and the answer not sent",
        # Janitor.
        "janitor.journal.before": "an entry of a journal is about to be repeated",
        "janitor.journal.after": "an entry of a journal is repeated, and the books do not know it",
        "janitor.moves.before": "an entry of `sb.moves` is about to be repeated",
        "janitor.moves.after": "an entry of `sb.moves` is repeated, and the books do not know it",
        "janitor.prune.before": "an entry of `sb.moves` is about to be erased",
        "janitor.prune.after": "an entry of `sb.moves` is erased, and nobody looked what it overtook",
        "janitor.slots.before": "repairs of slots are about to be appended",
        "janitor.slots.after": "repairs of slots are appended, and nobody looked what they overtook",
        "janitor.books.before": "slots are in order, and the books do not know it",
        "janitor.books.after": "the books know that slots are in order",
    }
)
"""Every failpoint, and what is done and not done when it is reached."""

_TROUBLE = "SOUTHBOUND_FAILPOINTS cannot be used"
_DIGITS_MAX = 9


@dataclass(frozen=True, slots=True)
class Action:
    """What happens at a failpoint: at its `first` passing (from 1), and `again` ever after."""

    verb: str
    seconds: float = 0.0
    first: int = 1
    again: bool = True

    def is_due(self, passing: int) -> bool:
        """Tell whether it happens at this passing."""
        return passing == self.first or (self.again and passing > self.first)


class Armed:
    """The failpoints of a process at which something happens. Thread-safe."""

    def __init__(self, actions: Mapping[str, Action]) -> None:
        self._actions = dict(actions)
        self._passed = dict.fromkeys(actions, 0)
        self._lock = threading.Lock()

    @classmethod
    def of(cls, text: str) -> Armed | None:
        """Read what the environment says; None when it says nothing. Raises `ConfigError`."""
        words = [word.strip() for word in text.split(";")]
        actions = dict(_parsed(word) for word in words if word)
        return cls(actions) if actions else None

    def reach(self, name: str) -> None:
        """Pass a failpoint. Raises `EdgeError` where that is its action."""
        action = self._actions.get(name)
        if action is None:
            return
        with self._lock:
            self._passed[name] += 1
            passing = self._passed[name]
        if action.is_due(passing):
            _perform(name, action)


def _perform(name: str, action: Action) -> None:
    if action.verb == "delay":
        time.sleep(action.seconds)
    elif action.verb == "error":
        raise EdgeError(f"failpoint {name}", retryable=True)
    else:
        # Past every buffer: nothing of this process is left after the next line.
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"failpoint {name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


def _parsed(word: str) -> tuple[str, Action]:
    name, _, rest = word.partition("=")
    deed, at, when = rest.partition("@")
    verb, _, seconds = deed.partition(":")
    if name not in POINTS:
        raise ConfigError(_TROUBLE, [Fault(VARIABLE, name, "is no failpoint")])
    if verb not in {"kill", "error", "delay"} or (verb == "delay") != bool(seconds):
        raise ConfigError(_TROUBLE, [Fault(name, deed, "must be kill, error or delay:SECONDS")])
    again = not at or when.endswith("+")
    number = when.removesuffix("+") if at else "1"
    if not number.isdecimal() or len(number) > _DIGITS_MAX or int(number) < 1:
        raise ConfigError(_TROUBLE, [Fault(name, when, "must be a number from 1")])
    return name, Action(verb, _seconds(name, seconds), int(number), again)


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise ConfigError(_TROUBLE, [Fault(name, text, "must be seconds")])
    return seconds


def _from_environment() -> Armed | None:
    try:
        return Armed.of(os.environ.get(VARIABLE, ""))
    except ConfigError as error:
        # Nobody is there yet who could show a user's mistake.
        raise SystemExit(f"southbound: {error}") from None


armed: Armed | None = _from_environment()
"""What this process was started with: None for everybody but tests."""

"""An applier that hands each plan to an operator's command (docs/appliers.md has its format).

The rule: a command is trusted with the node and with nothing else. It runs without a shell, within
a time limit, in a process group of its own that is killed as a whole when the limit is passed; what
it says is read within bounds; and a resource counts as applied only when the command said so,
for it by name or for all by ending with 0.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import msgspec

from southbound.errors import ConfigError, EdgeError, Fault
from southbound.nca.plan import Change, Plan
from southbound.resources import Op, ResourceKey, Scope

PROTOCOL = 1
OUTPUT_BYTES_MAX = 8 << 20
STDERR_TAIL_BYTES = 2_000
_REASON_CHARS_MAX = 500
_READ_BYTES = 1 << 16
# How soon an ended command is noticed whose outputs a child of it still holds open.
_LOOK_S = 0.05


class Answer(msgspec.Struct, frozen=True):
    """A line of the command's output: what became of change number `n`."""

    n: int
    ok: bool = True
    error: str = ""


class _Ended(msgspec.Struct, frozen=True):
    """How a run ended. `failure` is empty when the command ended by itself with 0."""

    output: bytes
    errors: bytes
    failure: str


_answers = msgspec.json.Decoder(Answer)
_encoder = msgspec.json.Encoder()


class CommandApplier:
    """Runs `argv` once for each plan, at most `timeout_s` seconds long.

    The command inherits this process's environment and working directory, and finds
    `SOUTHBOUND_PROTOCOL` and `SOUTHBOUND_CHANGES` besides.
    """

    def __init__(self, argv: Sequence[str], timeout_s: float = 30.0) -> None:
        self._argv = tuple(argv)
        self._timeout_s = timeout_s

    def open(self) -> None:
        """See that the command is there. Raises `ConfigError`."""
        faults = []
        if not self._argv:
            faults.append(Fault("argv", self._argv, "must name a command"))
        elif shutil.which(self._argv[0]) is None:
            faults.append(Fault("argv", self._argv[0], "is not a command that can be executed"))
        if not 0 < self._timeout_s < math.inf:
            faults.append(Fault("timeout_s", self._timeout_s, "must be above 0, and end"))
        if faults:
            raise ConfigError("the command applier cannot work", faults)

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Run the command with the plan; return why each failed resource did.

        Raises `EdgeError` only for a plan without any change to blame: one that only empties scopes.
        """
        if not plan.changes and not plan.complete and plan.only is None:
            return {}
        lines, unfit = _input(plan)
        try:
            ended = self._run(lines, len(plan.changes))
        except OSError as error:
            ended = _Ended(b"", b"", f"cannot be started: {error.strerror or error}")
        if ended.failure and not plan.changes:
            raise EdgeError(_reason(f"the command {ended.failure}", ended.errors), retryable=True)
        return {**_outcomes(plan, ended), **unfit}

    def close(self) -> None:
        """Do nothing: a command runs only within `apply`."""

    def _run(self, data: bytes, changes: int) -> _Ended:
        environment = {
            **os.environ,
            "SOUTHBOUND_PROTOCOL": str(PROTOCOL),
            "SOUTHBOUND_CHANGES": str(changes),
        }
        with subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        ) as process:
            talk = _Talk(process, data, time.monotonic() + self._timeout_s)
            try:
                failure = talk.run()
            except BaseException:
                _kill_group(process)
                raise
            if failure:
                _kill_group(process)
            elif process.wait() != 0:
                failure = _exit_reason(process.returncode)
        return _Ended(bytes(talk.output), bytes(talk.errors), failure)


class _Talk:
    """Feeds a command and listens to it at once, until it has ended, is late or says too much."""

    def __init__(self, process: subprocess.Popen[bytes], data: bytes, deadline_s: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.output = bytearray()
        self.errors = bytearray()
        self._process = process
        self._deadline_s = deadline_s
        self._rest = memoryview(data)
        self._selector = selectors.DefaultSelector()
        for stream, events in (
            (process.stdin, selectors.EVENT_WRITE),
            (process.stdout, selectors.EVENT_READ),
            (process.stderr, selectors.EVENT_READ),
        ):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, events)

    def run(self) -> str:
        """Return why the command must be killed; empty when it has ended by itself."""
        with self._selector:
            while self._process.poll() is None:
                left_s = self._deadline_s - time.monotonic()
                if left_s <= 0:
                    return "did not end within its time limit"
                if not self._exchange(min(left_s, _LOOK_S)):
                    # It closed everything: only its end is left to be waited for.
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(min(left_s, _LOOK_S))
                if len(self.output) > OUTPUT_BYTES_MAX:
                    return f"wrote more than {OUTPUT_BYTES_MAX} bytes of output"
            while self._exchange(0) and len(self.output) <= OUTPUT_BYTES_MAX:
                pass
        return ""

    def _exchange(self, wait_s: float) -> bool:
        """Move what can be moved; return False when nothing is open, or nothing came at once."""
        if not self._selector.get_map():
            return False
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            stream: IO[bytes] = key.fileobj  # type: ignore[assignment]  # what was registered
            if stream is self._process.stdin:
                self._feed(stream)
            else:
                self._hear(stream)
        return bool(ready) or wait_s > 0

    def _feed(self, stream: IO[bytes]) -> None:
        try:
            self._rest = self._rest[os.write(stream.fileno(), self._rest[:_READ_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._rest = self._rest[:0]  # the command has read all that it wants
        if not self._rest:
            self._selector.unregister(stream)
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _hear(self, stream: IO[bytes]) -> None:
        try:
            data = os.read(stream.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(stream)
        elif stream is self._process.stdout:
            self.output += data
        else:
            self.errors += data
            del self.errors[:-STDERR_TAIL_BYTES]


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _exit_reason(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"


def _change_line(n: int, change: Change) -> dict[str, Any]:
    scope = change.key.scope
    return {
        "n": n,
        "scope": scope.cls.value,
        "scope_id": scope.id,
        "kind": change.key.kind,
        "id": change.key.id,
        "op": "delete" if change.op is Op.DELETE else "upsert",
        "revision": change.revision,
        "changeset": change.changeset,
        "spec": change.spec,
    }


def _named(scopes: Iterable[Scope]) -> list[dict[str, str]]:
    return [{"scope": scope.cls.value, "scope_id": scope.id} for scope in scopes]


def _input(plan: Plan) -> tuple[bytes, dict[ResourceKey, str]]:
    """Return the lines for the command, and why some changes cannot be among them."""
    header: dict[str, Any] = {
        "protocol": PROTOCOL,
        "changes": len(plan.changes),
        "complete": _named(plan.complete),
    }
    if plan.only is not None:
        header["only"] = _named(plan.only)
    lines = [_encoder.encode(header)]
    unfit = {}
    for n, change in enumerate(plan.changes):
        try:
            lines.append(_encoder.encode(_change_line(n, change)))
        except (TypeError, ValueError, RecursionError) as error:
            unfit[change.key] = f"the spec cannot be written as JSON: {error}"
    return b"\n".join(lines) + b"\n", unfit


def _outcomes(plan: Plan, ended: _Ended) -> dict[ResourceKey, str]:
    """Judge each change: by its own line where there is one, else by how the command ended."""
    answers: dict[int, Answer] = {}
    rest = ended.failure
    for line in ended.output.splitlines():
        if not line.strip():
            continue
        try:
            answer = _answers.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            rest = rest or f"wrote a line that is no answer: {line[:80]!r}"
        else:
            answers[answer.n] = answer
    failed = {}
    for n, change in enumerate(plan.changes):
        own = answers.get(n)
        if own is not None and not (own.ok and not own.error):
            failed[change.key] = _reason(own.error or "the command says that it failed", b"")
        elif own is None and rest:
            failed[change.key] = _reason(f"the command {rest}", ended.errors)
    return failed


def _reason(text: str, errors: bytes) -> str:
    tail = errors.decode(errors="replace").strip()
    if not tail:
        return text[:_REASON_CHARS_MAX]
    room = max(_REASON_CHARS_MAX - len(text), _REASON_CHARS_MAX // 2)
    return f"{text}: {tail if len(tail) <= room else f'...{tail[-room:]}'}"

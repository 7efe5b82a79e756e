"""`southbound` with any words, any file and any environment, in this process.

The rule: whatever it is given, it ends with a documented exit code; what a person did wrong is told on
standard error, with the option, the word or the file; there is no traceback. Nothing is started and
nothing written: each command only reads, is a dry run, or asks a server that is not there.

Input: the command in the first line, further words in a line each (`NAME=value` of a variable that
is read sets it), an empty line, and the file, which words name as `@yaml`, `@json`, `@csv` or `-`.
Bytes of no such form are a file, which every command that takes one is given.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import typer.main
from click.testing import CliRunner

from southbound.cli.commands import INTERRUPTED
from southbound.cli.main import app
from southbound.cli.session import LOCAL_VARIABLE, REDIS_VARIABLE, TRACKER_VARIABLE
from southbound.errors import ConfigError, Fault, SouthboundError

NOBODY = {
    REDIS_VARIABLE: "redis://127.0.0.1:1/0",
    TRACKER_VARIABLE: "http://127.0.0.1:1",
    LOCAL_VARIABLE: "fleet",
}
"""Nobody listens on port 1, and `fleet` is a folder of the input's own."""

TAKING_FILES = (
    ("topology", "apply", "--dry-run", "@yaml"),
    ("topology", "diff", "@yaml"),
    ("publish", "--dry-run", "@yaml"),
    ("publish", "--dry-run", "-"),
    ("hosts", "register", "--dry-run", "--az", "a", "--file", "@yaml"),
    ("hosts", "register", "--dry-run", "--az", "a", "--file", "@csv"),
    ("shards", "apply", "--dry-run", "--yes", "@json"),
    ("plan-capacity", "--units", "@json"),
    ("local", "status"),
)
_OTHERS = (
    ("topology", "show"),
    ("hosts", "locate"),
    ("hosts", "list"),
    ("hosts", "effective"),
    ("hosts", "gate", "--timeout", "0"),
    ("changesets", "list"),
    ("changesets", "show"),
    ("vpcs", "locate"),
    ("vpcs", "list"),
    ("directory", "verify"),
    ("shards", "plan", "--dry-run"),
    ("shards", "status"),
    ("shards", "resume", "--dry-run"),
    ("shards", "rollback", "--dry-run"),
    ("plan-capacity",),
    ("local", "logs"),
)
COMMANDS = {" ".join(words): words for words in (*TAKING_FILES, *_OTHERS)}
_MESSAGE_CHARS_MAX = 60_000
_WORDS_MAX = 40


def _codes(kind: type[SouthboundError]) -> Iterator[int]:
    yield kind.exit_code
    for child in kind.__subclasses__():
        yield from _codes(child)


CODES = frozenset({0, INTERRUPTED, *_codes(SouthboundError)})
"""What a command may end with (docs/operations.md)."""


@cache
def _command() -> Any:
    return typer.main.get_command(app)


@cache
def _folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="southbound-fuzz-"))
    (made / "fleet").mkdir()
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@contextlib.contextmanager
def _inside(file: bytes) -> Iterator[None]:
    """Work in a folder in which the file stands under each of its names."""
    names = ("in.yaml", "in.json", "in.csv", "fleet/fleet.json", "fleet/topology.yaml")
    for name in (*names, "fleet/tracker.url"):
        (_folder() / name).write_bytes(file)
    before = Path.cwd()
    os.chdir(_folder())
    try:
        yield
    finally:
        os.chdir(before)


def run_command(data: bytes) -> None:
    """Run what the bytes say. What they make it do wrong is an assertion or a foreign error."""
    head, _, file = data.partition(b"\n\n")
    # As a shell hands words over; none can hold a nought, or name a server that is somebody's.
    lines = head.decode(errors="surrogateescape").replace("\0", "").split("\n")[:_WORDS_MAX]
    words = [line.replace("://", ":/") for line in lines[1:]]
    if lines[0] not in COMMANDS:
        errors = list(filter(None, (_ended(one, {}, data) for one in TAKING_FILES)))
        if len(errors) == len(TAKING_FILES):
            raise errors[0]
        return
    environment = dict(word.split("=", 1) for word in words if word.partition("=")[0] in NOBODY)
    rest = [word for word in words if word.partition("=")[0] not in NOBODY]
    error = _ended([*COMMANDS[lines[0]], *rest], environment, file)
    if error is not None:
        raise error


def _ended(
    words: Sequence[str], environment: dict[str, str], file: bytes
) -> SouthboundError | None:
    """Run a command, and judge how it ended; return an error if it was not well."""
    named = [f"in.{word[1:]}" if word in {"@yaml", "@json", "@csv"} else word for word in words]
    with _inside(file):
        result = CliRunner().invoke(_command(), named, input=file, env={**NOBODY, **environment})
    raised = result.exception
    if raised is not None and not isinstance(raised, SystemExit):
        raise raised
    assert result.exit_code in CODES, (result.exit_code, named)
    assert "Traceback" not in result.stderr, result.stderr
    assert len(result.stderr) <= _MESSAGE_CHARS_MAX, f"{len(result.stderr)} characters of message"
    if result.exit_code in {0, 1}:
        return None
    assert result.stderr.strip(), f"nothing is said: {named}"
    cause = _cause(raised)
    is_named = _names_its_place(result.stderr, named, cause)
    assert result.exit_code != ConfigError.exit_code or is_named, result.stderr
    return cause or ConfigError("not a command", [Fault("words", words, "are refused")])


def _cause(raised: BaseException | None) -> SouthboundError | None:
    """Return the error of ours that a command ended with; None for words that are no command."""
    ended = raised.__context__ if raised is not None else None
    cause = ended.__cause__ if ended is not None else None
    return cause if isinstance(cause, SouthboundError) else None


def _names_its_place(said: str, words: Sequence[str], cause: SouthboundError | None) -> bool:
    """Tell whether a message shows the field, the option, the word or the file that is wrong."""
    if isinstance(cause, ConfigError) and cause.faults:
        return True
    return "--" in said or "Usage:" in said or any(word in said for word in words if word)


def seeds(files: Iterable[bytes]) -> Iterator[bytes]:
    """Yield well-formed inputs: every command with words that mean something, and with each file."""
    good = {
        "hosts locate": "h1",
        "hosts effective": "h1",
        "hosts gate --timeout 0": "h1\n--port\np1\n--revision\n3",
        "changesets list": "--limit\n5\n--output\njson",
        "changesets show": "c1\n--names\n3",
        "vpcs locate": "v1",
        "shards plan --dry-run": "--host\nh1\n--to\nc1",
        "plan-capacity": "--hosts\n5000\n--set\nonline=0.5\n--explain",
    }
    for name in COMMANDS:
        words = good.get(name, "--output\njson")
        yield f"{name}\n{words}\n\n".encode()
    yield f"hosts list\n{REDIS_VARIABLE}=nowhere\n{LOCAL_VARIABLE}=x\n\n".encode()
    for file in files:
        for command in TAKING_FILES:
            yield " ".join(command).encode() + b"\n\n" + file

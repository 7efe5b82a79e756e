from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
import time
import typing
from pathlib import Path

import pytest

from southbound import failpoints
from southbound.errors import ConfigError, EdgeError
from southbound.failpoints import POINTS, Armed
from southbound.partitioning import steps

_PACKAGE = Path(failpoints.__file__).parent
_NAME = "agent.store.before"


def reached() -> list[str]:
    """Return every name given to `reach` in the product, as a pattern."""
    return [
        _pattern(node.args[0])
        for file in _PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func) == "failpoints.armed.reach"
    ]


def _pattern(name: ast.expr) -> str:
    if isinstance(name, ast.Constant):
        return re.escape(str(name.value))
    assert isinstance(name, ast.JoinedStr)
    return "".join(
        re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[a-z]+"
        for part in name.values
    )


def test_every_name_in_the_code_is_registered_and_every_registered_one_is_in_the_code() -> None:
    """None is misspelt, and none stands only in the list."""
    patterns = reached()
    assert len(patterns) == len(set(patterns))
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in POINTS), pattern
    for name in POINTS:
        assert any(re.fullmatch(pattern, name) for pattern in patterns), name


def test_every_step_of_a_move_has_its_failpoints() -> None:
    """A step that is added needs its two."""
    actions = {kind.__name__.lower() for kind in typing.get_args(steps.Action)} - {"finished"}
    named = {name.split(".")[1] for name in POINTS if name.startswith("executor.")}
    assert named == actions | {"store", "add", "home"}


def test_what_the_environment_says() -> None:
    """Nothing, one action or several; each at its passing."""
    assert Armed.of("") is None
    assert Armed.of(" ; ") is None
    armed = Armed.of(f"{_NAME}=error@2; agent.apply.after=error@2+")
    assert armed is not None
    armed.reach("agent.apply.before")
    armed.reach(_NAME)
    with pytest.raises(EdgeError, match=_NAME) as raised:
        armed.reach(_NAME)
    assert raised.value.retryable
    armed.reach(_NAME)
    armed.reach("agent.apply.after")
    for _ in range(2):
        with pytest.raises(EdgeError):
            armed.reach("agent.apply.after")


def test_a_delay_is_waited_for() -> None:
    """Every time, unless one is named."""
    armed = Armed.of(f"{_NAME}=delay:0.05")
    assert armed is not None
    began_s = time.monotonic()
    armed.reach(_NAME)
    armed.reach(_NAME)
    assert time.monotonic() - began_s >= 0.1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("agent.stor.before=kill", "agent.stor.before"),
        (f"{_NAME}=explode", "explode"),
        (f"{_NAME}=delay", "delay"),
        (f"{_NAME}=kill:3", "kill:3"),
        (f"{_NAME}=delay:soon", "soon"),
        (f"{_NAME}=kill@0", "'0'"),
        (f"{_NAME}=kill@x", "'x'"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    """The error has the field and the value."""
    with pytest.raises(ConfigError, match=said):
        Armed.of(text)


def run(armed: str) -> subprocess.CompletedProcess[str]:
    """Pass a failpoint in a process of its own."""
    script = f"from southbound import failpoints as f; f.armed and f.armed.reach('{_NAME}')"
    return subprocess.run(
        [sys.executable, "-c", script + "; print('alive')"],
        env={failpoints.VARIABLE: armed},
        cwd=_PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_process_dies_as_by_a_kill() -> None:
    """It says where, and nothing else."""
    done = run(f"{_NAME}=kill")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")
    assert done.stderr == f"failpoint {_NAME}\n"


def test_a_process_that_is_armed_wrongly_does_not_start() -> None:
    """It says why, without a traceback."""
    done = run("nowhere=kill")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_is_armed_unless_told() -> None:
    """The tests' own process, for one."""
    assert failpoints.armed is None
    assert run("").stdout == "alive\n"


@pytest.mark.parametrize(
    "action", ["kill@" + "9" * 5_000, "delay:nan", "delay:inf", "delay:-1", "delay:1e300"]
)
def test_a_number_that_is_none_is_refused(action: str) -> None:
    """No process waits for ever, or not at all, for a slip of the hand."""
    with pytest.raises(ConfigError, match=_NAME):
        Armed.of(f"{_NAME}={action}")

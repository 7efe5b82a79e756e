import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from southbound import __version__
from southbound.cli.commands import INTERRUPTED
from southbound.cli.main import app
from southbound.errors import ConfigError, EdgeError
from tests.cli.conftest import Run

COMMANDS = [
    "local up",
    "local down",
    "local status",
    "local logs",
    "topology apply",
    "topology show",
    "topology diff",
    "hosts register",
    "hosts locate",
    "hosts list",
    "hosts effective",
    "hosts gate",
    "changesets list",
    "changesets show",
    "vpcs locate",
    "vpcs list",
    "publish",
    "agent run",
    "worker run",
    "tracker run",
    "directory verify",
    "directory rebuild",
    "shards recover",
    "doctor",
    "demo",
]
NEEDS_REDIS = [
    ["topology", "show"],
    ["hosts", "list"],
    ["hosts", "locate", "h1"],
    ["hosts", "register", "--az", "az-a", "h1"],
    ["vpcs", "list"],
    ["directory", "verify"],
    ["shards", "recover"],
    ["agent", "run", "--host", "h1"],
    ["worker", "run", "--kind", "elb"],
    ["tracker", "run", "--listen", "127.0.0.1:0"],
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    """Help names the command, says what it does, and knows the options of the whole line."""
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"southbound {command}" in result.output or "root" in result.output
    assert "--output" in result.output
    assert "--redis" in result.output


def test_the_version_is_the_packages(run: Run) -> None:
    """`--version` prints it and ends well."""
    assert run("--version").output == f"southbound {__version__}\n"


@pytest.mark.parametrize("words", NEEDS_REDIS, ids=" ".join)
def test_without_a_redis_one_sentence_says_what_to_name(run: Run, words: list[str]) -> None:
    """Exit 2, on standard error, and how to mend it."""
    result = run(*words)
    assert result.exit_code == ConfigError.exit_code
    assert result.stdout == ""
    assert "SOUTHBOUND_REDIS_URL" in result.stderr
    assert "southbound local up" in result.stderr


def test_an_unreachable_redis_is_an_edge_error(run: Run) -> None:
    """Exit 7, naming the address without its password."""
    result = run("hosts", "list", "--redis", "redis://:secret@127.0.0.1:1/0")
    assert result.exit_code == EdgeError.exit_code
    assert "127.0.0.1:1" in result.stderr
    assert "secret" not in result.output


@pytest.mark.parametrize("words", [["hosts", "list"], ["agent", "run", "--host", "h"]])
def test_a_bad_address_of_redis_is_the_users_mistake(run: Run, words: list[str]) -> None:
    """Exit 2, naming the schemes that there are."""
    result = run(*words, "--redis", "http://127.0.0.1")
    assert result.exit_code == ConfigError.exit_code
    assert "redis://" in result.stderr


@pytest.mark.parametrize("words", [["nonsense"], ["hosts", "lst"], ["hosts", "list", "--nope"]])
def test_a_command_that_is_none_is_refused(run: Run, words: list[str]) -> None:
    """Exit 2, as every command line does it."""
    assert run(*words).exit_code == ConfigError.exit_code


def test_shared_options_stand_before_the_noun_or_after_the_verb(run: Run) -> None:
    """`--output json` means the same in both places."""
    before = run("--output", "json", "local", "status")
    after = run("local", "status", "--output", "json")
    assert json.loads(before.stdout) == json.loads(after.stdout) == []
    assert before.exit_code == after.exit_code == 1


def test_an_error_of_the_machinery_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only errors of Southbound's tree become sentences: a bug keeps its traceback."""

    def broken(_self: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("southbound.cli.session.Session.redis_url", broken)
    with pytest.raises(AssertionError):
        run("hosts", "list")


def test_help_is_there_at_once() -> None:
    """Nothing heavy is imported for it: no pydantic, rich, yaml, Kafka or Redis client."""
    program = (
        "import sys\n"
        "from southbound.cli.main import app\n"
        "heavy = {'pydantic', 'rich', 'yaml', 'confluent_kafka', 'redis', 'prometheus_client'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    assert app.info.name == "southbound"


def test_the_agents_own_entry_needs_no_extra(tmp_path: Path) -> None:
    """`python -m southbound.nca` works with typer, rich, pydantic and yaml not to be had."""
    program = (
        "import sys\n"
        "for name in ('typer', 'rich', 'pydantic', 'yaml', 'psutil'): sys.modules[name] = None\n"
        "from southbound.nca.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["agent", "--host", "h1", "--state-dir", str(tmp_path), "--redis", "nonsense"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == ConfigError.exit_code
    assert done.stderr.startswith("southbound: unusable address of Redis")


def test_ctrl_c_ends_a_command_cleanly(tmp_path: Path) -> None:
    """Interrupted while it waits for a Redis that does not answer: 130, one word, no traceback."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
        # Who runs tests in the background may have Ctrl-C ignored, which children inherit.
        program = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
            " from southbound.cli.main import app; app()"
        )
        words = [sys.executable, "-c", program, "hosts", "list", "--redis", address]
        with subprocess.Popen(
            words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            deaf.settimeout(20)
            connection, _ = deaf.accept()
            with connection:
                # Once it has asked, it waits.
                connection.settimeout(20)
                assert connection.recv(1)
                os.kill(process.pid, signal.SIGINT)
                _, said = process.communicate(timeout=20)
    assert process.returncode == INTERRUPTED, said
    assert said.strip() == "southbound: interrupted"

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from southbound.cli.session import LOCAL_VARIABLE
from southbound.errors import ConfigError, NotConverged, UnknownScope
from southbound.local import launch
from southbound.nca.appliers.file import read_tree
from southbound.resources import ResourceKey, host_scope, vpc_scope
from tests.live.agent_kit import eventually

_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_PORT = """
kind: port
host: {host}
id: port-{host}
revision: {revision}
spec: {{vpc_id: vpc-{host}, name: r{revision}}}
---
kind: vpc
id: vpc-{host}
revision: {revision}
spec: {{name: cli}}
"""


class Shell:
    """A person's terminal: `southbound` with the words given, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            LOCAL_VARIABLE: str(folder / "local"),
        }
        self.environment.pop("SOUTHBOUND_REDIS_URL", None)
        self.started: list[subprocess.Popen[bytes]] = []

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; it must end with `code` and without a traceback."""
        done = subprocess.run(
            [sys.executable, "-m", "southbound.cli", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *words: str, code: int = 0) -> list[dict[str, object]]:
        """Run a command and read the rows that it prints."""
        rows: list[dict[str, object]] = json.loads(
            self.run(*words, "--output", "json", code=code).stdout
        )
        return rows

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command that runs until it is told to stop."""
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.DEVNULL,
        )
        self.started.append(process)
        return process

    def publish_port(self, host: str, revision: int, *words: str, code: int = 0) -> str:
        """Publish a port and its VPC; return what was said of them."""
        file = self.folder / f"port-{host}.yaml"
        file.write_text(_PORT.format(host=host, revision=revision))
        done = self.run("publish", str(file), *words, code=code)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A terminal with a local fleet of two clusters, its topology applied."""
    made = Shell(tmp_path_factory.mktemp("cli"))
    try:
        made.run("local", "up", "--clusters", "2")
        made.run("topology", "apply")
        yield made
    finally:
        for process in made.started:
            if process.poll() is None:
                process.kill()
            process.wait(10)
        made.run("local", "down", "--wipe")


def test_from_an_empty_machine_to_a_configured_node(shell: Shell) -> None:
    """The README's flow: register, start an agent, publish, wait until it has been applied."""
    placed = shell.json("hosts", "register", "--az", "az-a", "host-1", "host-2")
    assert [row["cluster"] for row in placed] == ["c1", "c1"]
    assert shell.json("hosts", "locate", "host-1") == [placed[0]]
    agent = shell.start("-m", "southbound.cli", "agent", "run", "--host", "host-1")
    told = shell.publish_port("host-1", 1, "--wait", "applied", "--timeout", "60")
    assert "host-1" in told
    tree = read_tree(shell.folder / "local" / "agents" / "host-1" / "files")
    assert set(tree) == {
        ResourceKey(host_scope("host-1"), "port", "port-host-1"),
        ResourceKey(vpc_scope("vpc-host-1"), "vpc", "vpc-host-1"),
    }
    replicas = shell.json("vpcs", "locate", "vpc-host-1")
    assert [row["role"] for row in replicas].count("home") == 1
    assert "c1" in {row["cluster"] for row in replicas}
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(60) == 0
    late = shell.publish_port("host-1", 2, "--wait", "applied", "--timeout", "4", code=11)
    assert NotConverged.exit_code == 11
    assert "host-1" in late


def test_an_agent_without_the_command_line_is_the_same(shell: Shell) -> None:
    """`python -m southbound.nca` registers its host by itself and gets its configuration."""
    files = shell.folder / "files-3"
    redis = shell.run("local", "status", "--output", "json").stdout
    port = next(row["port"] for row in json.loads(redis) if row["kind"] == "redis")
    agent = shell.start(
        "-m", "southbound.nca", "agent", "--host", "host-3", "--az", "az-b",
        "--redis", f"redis://127.0.0.1:{port}/0",
        "--state-dir", str(shell.folder / "state-3"), "--files", str(files),
    )  # fmt: skip
    eventually(lambda: _is_known(shell, "host-3"), within_s=60)
    shell.publish_port("host-3", 5, "--wait", "applied", "--timeout", "60")
    key = ResourceKey(host_scope("host-3"), "port", "port-host-3")
    assert read_tree(files)[key][0] == 5
    agent.send_signal(signal.SIGINT)
    assert agent.wait(60) == 0


def _is_known(shell: Shell, host: str) -> bool:
    return any(row["host"] == host for row in shell.json("hosts", "list"))


def test_a_worker_serves_what_is_published(shell: Shell) -> None:
    """The example's load balancer reaches the worker of its kind."""
    shell.run("hosts", "register", "--az", "az-a", "node-1", "node-2", "node-3", "node-4")
    worker = shell.start("-m", "southbound.cli", "worker", "run", "--kind", "elb", "--id", "w")
    shell.run("publish", str(_EXAMPLES / "two-tier-app.yaml"))
    files = shell.folder / "local" / "workers" / "w" / "files"
    eventually(lambda: "elb-shop" in {key.id for key in _tree(files)}, within_s=60)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert _tree(files) == set()


def _tree(files: Path) -> set[ResourceKey]:
    return set(read_tree(files)) if files.is_dir() else set()


def test_publishing_to_an_unknown_host_is_refused(shell: Shell) -> None:
    """Exit 3, naming the host and what to do."""
    told = shell.publish_port("nobody", 1, code=UnknownScope.exit_code)
    assert "unknown host 'nobody'" in told
    shell.run("hosts", "locate", "nobody", code=UnknownScope.exit_code)


def test_applying_a_topology_again_changes_nothing(shell: Shell) -> None:
    """No rows, the same version; and no difference anywhere."""
    before = shell.run("topology", "show").stdout
    same = shell.folder / "same.yaml"
    same.write_text(before)
    assert shell.json("topology", "apply", str(same)) == []
    assert shell.run("topology", "show").stdout == before
    assert shell.json("topology", "diff", str(same)) == []


def test_a_pool_is_added_and_never_resized(shell: Shell) -> None:
    """A dry run shows the new topics; a resize is refused before anything is done."""
    document = shell.run("topology", "show").stdout
    resized = shell.folder / "resized.yaml"
    resized.write_text(document.replace("topics: 4", "topics: 5", 1))
    refused = shell.run("topology", "apply", str(resized), code=ConfigError.exit_code)
    assert "a pool is never resized" in refused.stderr
    grown = shell.folder / "grown.yaml"
    pool = "- {id: more, cluster: c2, class: host, topics: 2, partitions: 4, max_per_slot: 9}"
    grown.write_text(document.replace("pools:\n", f"pools:\n{pool}\n"))
    rows = shell.json("topology", "apply", str(grown), "--dry-run")
    topics = [row["what"] for row in rows if row["against"] == "c2"]
    assert topics == ["sb.more.000", "sb.more.001"]
    assert shell.json("topology", "diff", str(grown), code=1) == rows
    assert shell.run("topology", "show").stdout == document
    shell.run("topology", "apply", str(grown))
    assert shell.json("topology", "diff", str(grown)) == []


def test_registering_from_a_file_keeps_who_is_there(shell: Shell) -> None:
    """A dry run says who would be new; registering again gives the same places."""
    file = shell.folder / "hosts.csv"
    file.write_text("host,az\n" + "".join(f"csv-{n},az-b\n" for n in range(300)))
    rows = shell.json("hosts", "register", "--file", str(file), "--dry-run")
    assert {row["action"] for row in rows} == {"register"}
    first = shell.json("hosts", "register", "--file", str(file))
    assert len(first) == 300
    assert shell.json("hosts", "register", "--file", str(file)) == first
    shell.run("hosts", "register", "--az", "az-x", "h", code=ConfigError.exit_code)


def test_doctor_finds_a_healthy_fleet_well(shell: Shell) -> None:
    """No errors; and one that names a topic when its settings are wrong is for the pure tests."""
    rows = shell.json("doctor")
    assert "error" not in {row["severity"] for row in rows}
    assert {"c1", "c2", "redis", "machine"} <= {row["subject"] for row in rows}


def test_doctor_names_a_cluster_that_is_away(shell: Shell) -> None:
    """With its address and what to do, and goes on with the others."""
    document = shell.run("topology", "show").stdout
    c2 = next(row for row in shell.json("local", "status") if row["name"] == "c2")
    wrong = shell.folder / "wrong.yaml"
    wrong.write_text(document.replace(f"127.0.0.1:{c2['port']}", "127.0.0.1:1"))
    rows = shell.json("doctor", "--topology", str(wrong), code=1)
    errors = [row for row in rows if row["severity"] == "error"]
    assert [row["subject"] for row in errors] == ["c2"]
    assert "127.0.0.1:1" in str(errors[0]["what"])


def test_the_directory_is_rebuilt_from_the_journals(shell: Shell) -> None:
    """Verify says the same before and after; the places are the same."""
    shell.run("hosts", "register", "--az", "az-a", "kept")
    before = shell.json("hosts", "locate", "kept")
    assert shell.json("directory", "verify") == []
    shell.run("directory", "rebuild")
    assert shell.json("directory", "verify") == []
    assert shell.json("hosts", "locate", "kept") == before


def test_logs_and_status_show_every_server(shell: Shell) -> None:
    """The end of each log, and one fleet that answers."""
    assert [row["name"] for row in shell.json("local", "status")] == ["c1", "c2", "redis"]
    assert "INFO" in shell.run("local", "logs", "c1", "-n", "5").stdout
    shell.run("local", "logs", "c9", code=ConfigError.exit_code)


def test_down_leaves_nothing_behind(tmp_path: Path) -> None:
    """Up, down with its data: no process, no record."""
    shell = Shell(tmp_path)
    shell.run("local", "up", "--clusters", "1")
    pids = [row["pid"] for row in shell.json("local", "status")]
    shell.run("local", "down", "--wipe")
    assert [launch.start_mark(int(str(pid))) for pid in pids] == [None, None]
    assert shell.json("local", "status", code=1) == []

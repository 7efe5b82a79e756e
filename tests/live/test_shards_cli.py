"""`southbound shards` from the command line: plan, look, apply, status, resume, rollback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from southbound.cli.main import app
from southbound.directory import Directory
from southbound.documents.topology import topology_of
from southbound.edge.admin import apply_topics
from southbound.local.fleet import LocalFleet
from southbound.partitioning.topology import Pool
from southbound.resources import host_scope
from tests.live.directory_kit import DirectoryKit, kit_of

Unique = Callable[[str], str]

_DATABASE = 11


@pytest.fixture(scope="module")
def kit(fleet: LocalFleet) -> Iterator[DirectoryKit]:
    """The shared clusters, both with two small pools of hosts of this file's own."""
    document = topology_of(fleet.topology_document())
    pools = tuple(
        Pool(
            id=f"shards-{cluster.id}-{letter}",
            cluster=cluster.id,
            cls="host",
            topics=1,
            partitions=2,
            max_per_slot=40,
        )
        for cluster in document.clusters
        for letter in "ab"
    )
    topology = type(document)(
        region="test",
        azs=document.azs,
        clusters=document.clusters,
        pools=(*document.pools, *pools),
    )
    apply_topics(topology)
    with kit_of(fleet, topology, _DATABASE) as made:
        directory = made.directory()
        directory.put_topology(topology)
        yield made


def run(kit: DirectoryKit, *words: str) -> Result:
    """Run a command against the kit's Redis."""
    return CliRunner().invoke(app, ["--redis", kit.redis_url, "shards", *words])


def answer(result: Result) -> Any:
    """Return the JSON document that a command printed."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_from_plan_to_rollback(kit: DirectoryKit, unique: Unique, tmp_path: Path) -> None:
    """A plan is shown, written, applied, looked at and taken back; mistakes have exit codes."""
    directory = kit.directory()
    hosts = [unique("host") for _ in range(40)]
    placed = directory.register_hosts(dict.fromkeys(hosts, "az-a"))
    hosts = [host for host in hosts if placed[host].pool != "shards-c1-b"][:6]
    before = {host: placed[host].pool for host in hosts}
    file = tmp_path / "plan.json"
    words = [word for host in hosts for word in ("--host", host)]
    shown = run(kit, "plan", *words, "--to", "shards-c1-b", "--out", str(file))
    assert shown.exit_code == 0, shown.output
    assert "shards-c1-b" in shown.stdout
    dry = run(kit, "apply", str(file), "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "nothing was changed" in dry.stderr
    unasked = run(kit, "apply", str(file))
    assert unasked.exit_code == 2
    assert "--yes" in unasked.stderr
    done = answer(run(kit, "apply", str(file), "--yes", "--output", "json"))
    assert (done["done"], done["of"], done["state"]) == (6, 6, "done")
    assert pools(directory, hosts) == dict.fromkeys(hosts, "shards-c1-b")
    again = run(kit, "apply", str(file), "--yes")
    assert again.exit_code == 6
    assert "begun already" in again.stderr
    standings = {one["plan"]: one for one in answer(run(kit, "status", "--output", "json"))}
    assert standings[done["plan"]]["state"] == "done"
    assert run(kit, "resume").exit_code == 5
    back = answer(run(kit, "rollback", done["plan"], "--yes", "--output", "json"))
    assert (back["undoes"], back["state"]) == (done["plan"], "done")
    assert pools(directory, hosts) == before


def pools(directory: Directory, hosts: list[str]) -> dict[str, str]:
    """Return the pools in which hosts live, as Redis says."""
    rows = directory.rows([host_scope(host) for host in hosts])
    return {scope.id: row.partition(":")[0] for scope, row in rows.items()}


def test_goals_are_checked(kit: DirectoryKit, tmp_path: Path) -> None:
    """Two goals, none, unknown names and a file that is no plan are the user's mistakes."""
    assert run(kit, "plan").exit_code == 2
    assert run(kit, "plan", "--even", "--fill", "shards-c1-a").exit_code == 2
    assert run(kit, "plan", "--host", "h").exit_code == 2
    assert run(kit, "plan", "--host", "nobody", "--to", "c1").exit_code == 3
    assert run(kit, "plan", "--drain-pool", "nowhere").exit_code == 5
    assert run(kit, "plan", "--drain-slot", "shards-c1-a/9/9").exit_code == 2
    assert run(kit, "apply", str(tmp_path / "none.json")).exit_code == 2
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    assert run(kit, "apply", str(bad)).exit_code == 4
    assert run(kit, "status", "no-such-plan").exit_code == 5


def test_filling_and_evening_out(kit: DirectoryKit, unique: Unique) -> None:
    """A pool that is filled takes, and gives nothing; traffic is measured on the logs."""
    hosts = [unique("host") for _ in range(12)]
    kit.directory().register_hosts(dict.fromkeys(hosts, "az-b"))
    plan = answer(run(kit, "plan", "--fill", "shards-c2-b", "--output", "json"))
    assert {move["pool"] for move in plan["moves"]} <= {"shards-c2-b"}
    traffic = answer(
        run(kit, "plan", "--even", "--by", "traffic", "--sample", "1", "--output", "json")
    )
    assert traffic["goal"] == {"kind": "even", "by": "traffic"}

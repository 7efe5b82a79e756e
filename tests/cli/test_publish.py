import json
from pathlib import Path

from southbound.errors import ConfigError
from tests.cli.conftest import Run

PORT = """
kind: port
host: node-1
id: port-1
revision: 3
spec: {vpc_id: vpc-1, mac_address: "fa:16:3e:00:00:01", fixed_ips: []}
"""
NEUTRON = {"ports": [{"id": "p-9", "network_id": "n-1", "revision_number": 2, "fixed_ips": []}]}


def test_a_dry_run_shows_what_would_be_published(run: Run, tmp_path: Path) -> None:
    """Without a Redis, and as JSON with changesets and what could not be placed."""
    (tmp_path / "port.yaml").write_text(PORT)
    result = run("publish", "port.yaml", "--dry-run", "--output", "json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert [one["scopes"] for one in told["changesets"]] == [["host:node-1"]]
    assert told["changesets"][0]["standing"] == "not sent"
    assert told["unplaced"] == []


def test_documents_may_come_on_standard_input(run: Run) -> None:
    """`-` is what was piped in."""
    result = run("publish", "-", "--dry-run", input=PORT)
    assert result.exit_code == 0
    assert "host:node-1" in result.stdout


def test_what_cannot_be_placed_is_listed(run: Run, tmp_path: Path) -> None:
    """A port without a host: listed with the reason, and refused by --strict."""
    (tmp_path / "ports.json").write_text(json.dumps(NEUTRON))
    listed = run("publish", "ports.json", "--dry-run")
    assert listed.exit_code == 0
    assert "p-9" in listed.stdout
    strict = run("publish", "ports.json", "--strict")
    assert strict.exit_code == ConfigError.exit_code
    assert "p-9" in strict.stderr


def test_a_broken_document_is_refused_with_its_place(run: Run, tmp_path: Path) -> None:
    """Exit 2, naming file, place and value; nothing is sent."""
    (tmp_path / "bad.yaml").write_text(PORT.replace("revision: 3", "revision: 0"))
    result = run("publish", "bad.yaml")
    assert result.exit_code == ConfigError.exit_code
    assert "bad.yaml" in result.stderr
    assert "revision" in result.stderr


def test_a_missing_file_is_named(run: Run) -> None:
    """Exit 2, with its name."""
    result = run("publish", "absent.yaml")
    assert result.exit_code == ConfigError.exit_code
    assert "absent.yaml" in result.stderr

"""Commands that a tracker answers, on a tracker without clusters that is fed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from southbound.cli.session import Session
from southbound.errors import ConfigError, EdgeError, NotConverged, UnknownScope
from southbound.tracker.client import TrackerClient
from southbound.tracker.process import ListenSettings, serve
from southbound.tracker.service import TrackerService
from tests.cli.conftest import Run
from tests.tracker.desk import FAILED, PENDING, announcement, line, port, read, report, service


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[tuple[TrackerService, str]]:
    """Return a service that knows some hosts, and its address."""
    made = service(tmp_path / "state")
    made.taken(
        read(
            report("a", line(port("a"), 3, at_us=1_700_000_000_000_000, changeset="launch")),
            report("b", line(port("b"), 1, PENDING, changeset="launch", detail="waits for vpc:v")),
            report("c", line(port("c"), 2, FAILED, changeset="other", detail="no room")),
        )
    )
    server = serve(made, ListenSettings())
    yield made, "http://{}:{}".format(*server.address)
    made.bells.close()
    server.close()
    made.close()


@pytest.mark.parametrize(
    "words",
    [["hosts", "effective", "a"], ["hosts", "gate", "a", "--port", "p"], ["changesets", "list"]],
    ids=" ".join,
)
def test_without_a_tracker_one_sentence_says_what_to_name(run: Run, words: list[str]) -> None:
    """Exit 2; and 7 where the one that is named does not answer."""
    result = run(*words)
    assert result.exit_code == ConfigError.exit_code
    assert "SOUTHBOUND_TRACKER" in result.stderr
    away = run(*words, "--tracker", "http://127.0.0.1:1")
    assert away.exit_code == EdgeError.exit_code
    wrong = run(*words, "--tracker", "redis://127.0.0.1:1")
    assert wrong.exit_code == ConfigError.exit_code
    assert "http://HOST:PORT" in wrong.stderr


def test_effective_shows_what_stands_on_a_host(
    run: Run, tracker: tuple[TrackerService, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same in a table and as JSON; exit 3 for a host that never told anything."""
    monkeypatch.setenv("SOUTHBOUND_TRACKER", tracker[1])
    text = run("hosts", "effective", "a").stdout
    assert "launch" in text
    assert "2023-11-14" in text or "2023-11-15" in text
    document = json.loads(run("hosts", "effective", "c", "--output", "json").stdout)
    (one,) = document["resources"]
    assert (one["state"], one["open_revision"], one["why"]) == ("failed", 2, "no room")
    assert run("hosts", "effective", "nobody").exit_code == UnknownScope.exit_code


def test_a_gate_ends_with_its_own_exit_codes(run: Run, tracker: tuple[TrackerService, str]) -> None:
    """0 when ready, 11 with the reason when not, 2 for what is no gate."""
    words = ("--tracker", tracker[1], "--timeout", "0.01")
    ready = run("hosts", "gate", "a", "--port", "p", "--revision", "3", *words)
    assert ready.exit_code == 0
    assert "ready" in ready.stdout
    shut = run("hosts", "gate", "b", "--port", "p", *words)
    assert shut.exit_code == NotConverged.exit_code
    assert "waits for vpc:v" in shut.stderr
    told = json.loads(run("hosts", "gate", "c", "--port", "p", "--output", "json", *words).stdout)
    assert (told["outcome"], told["ready"]) == ("failed", False)
    assert run("hosts", "gate", "a", *words).exit_code == ConfigError.exit_code
    assert (
        run("hosts", "gate", "a", "--kind", "elb", "--id", "e", *words).exit_code
        == ConfigError.exit_code
    )


def test_changesets_are_listed_and_shown(run: Run, tracker: tuple[TrackerService, str]) -> None:
    """Who lags behind is named with the reason; unknown ones are exit 3."""
    made, url = tracker
    made.announce([announcement("mine", ("h\x1fa", {port("a"): 3}), ("h\x1fz", {port("z"): 1}))])
    words = ("--tracker", url)
    listed = json.loads(run("changesets", "list", "--open", "--output", "json", *words).stdout)
    assert {one["changeset"] for one in listed} == {"mine", "launch", "other"}
    shown = run("changesets", "show", "launch", *words).stdout
    assert "heard" in shown
    assert "waits for vpc:v" in shown
    document = json.loads(run("changesets", "show", "mine", "--output", "json", *words).stdout)
    assert (document["applied"], document["silent"]) == (["a"], ["z"])
    waited = run("changesets", "show", "mine", "--wait", "--timeout", "0.01", *words)
    assert waited.exit_code == NotConverged.exit_code
    assert run("changesets", "show", "nothing", *words).exit_code == UnknownScope.exit_code


def test_a_tracker_of_the_local_fleet_is_found(tmp_path: Path) -> None:
    """Where none is named, and there is a fleet; an option beats it."""
    (tmp_path / "fleet.json").write_text("{}")
    session = Session(local_dir=tmp_path)
    with pytest.raises(ConfigError, match="no tracker is named"):
        session.tracker_client()
    session.tracker_file.write_text("nonsense\n")
    with pytest.raises(ConfigError, match="nonsense"):
        session.tracker_client()
    named = session.with_option("tracker", "http://127.0.0.1:1")
    assert isinstance(named.tracker_client(), TrackerClient)

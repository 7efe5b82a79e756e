from pathlib import Path

import pytest

from southbound.errors import ConfigError
from southbound.local import fleet
from southbound.local.fleet import LocalFleet
from southbound.local.record import planned, write_record


@pytest.fixture
def asleep(tmp_path: Path) -> LocalFleet:
    """A fleet that is recorded and does not run."""
    made = LocalFleet(tmp_path)
    write_record(made.record_file, planned(None, 2, 2, "here"))
    return made


def test_the_default_folder_can_be_named() -> None:
    """Below the working folder unless the environment names another."""
    assert fleet.default_state_dir({}) == Path("var/local")
    assert fleet.default_state_dir({fleet.VARIABLE: "/x"}) == Path("/x")


def test_making_the_object_touches_nothing(tmp_path: Path) -> None:
    """Nor does asking about, or ending, a fleet that never was."""
    nowhere = LocalFleet(tmp_path / "none")
    assert nowhere.status() == []
    assert nowhere.log_files() == {}
    nowhere.down(wipe=True)
    assert list(tmp_path.iterdir()) == []


def test_a_fleet_that_does_not_run_is_told_so(asleep: LocalFleet) -> None:
    """Each server with its port, none of them up."""
    told = asleep.status()
    assert [(status.name, status.kind) for status in told] == [
        ("c1", "kafka"),
        ("c2", "kafka"),
        ("redis", "redis"),
    ]
    assert not any(status.up or status.pid or status.rss_bytes for status in told)
    assert asleep.redis_url == f"redis://127.0.0.1:{told[2].port}/0"
    assert asleep.bootstrap("c2") == f"127.0.0.1:{told[1].port}"


def test_each_server_has_a_log(asleep: LocalFleet) -> None:
    """Known before it is written."""
    assert set(asleep.log_files()) == {"c1", "c2", "redis"}
    assert len(set(asleep.log_files().values())) == 3


@pytest.mark.parametrize("text", ["[1, 2", "just words", "[]"])
def test_a_topology_that_was_spoilt_is_named(asleep: LocalFleet, text: str) -> None:
    """The fault names the file; nothing is written over it."""
    asleep.topology_file.write_text(text)
    with pytest.raises(ConfigError, match=str(asleep.topology_file)):
        asleep.topology_document()
    assert asleep.topology_file.read_text() == text


def test_a_topology_that_is_gone_says_how_to_have_it_again(asleep: LocalFleet) -> None:
    """Starting writes it."""
    with pytest.raises(ConfigError, match="start the fleet"):
        asleep.topology_document()


def test_wiping_leaves_what_is_not_the_fleets(asleep: LocalFleet) -> None:
    """A file that a person put into the folder stays; a lock may."""
    (asleep.state_dir / "mine").touch()
    asleep.down(wipe=True)
    left = {file.name for file in asleep.state_dir.iterdir()}
    assert left - {".lock"} == {"mine"}

from pathlib import Path

import pytest

from southbound.cli.host_files import read_hosts
from southbound.errors import ConfigError


def written(tmp_path: Path, name: str, text: str) -> Path:
    """Write a file of hosts."""
    file = tmp_path / name
    file.write_text(text)
    return file


def test_names_take_the_zone_that_is_given() -> None:
    """Each host named on the line is in --az."""
    assert read_hosts(["a", "b"], "az-1", None) == {"a": "az-1", "b": "az-1"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hosts.csv", "host,az\na,az-1\n# gone,az-1\n\nb, az-2\n"),
        ("hosts.csv", "a,az-1\nb,az-2\n"),
        ("hosts.yaml", "a: az-1\nb: az-2\n"),
        ("hosts.yaml", "- {host: a, az: az-1}\n- {host: b, az: az-2}\n"),
        ("hosts.json", '[{"host": "a", "az": "az-1"}, {"host": "b", "az": "az-2"}]'),
    ],
)
def test_every_form_of_a_list_is_read(tmp_path: Path, name: str, text: str) -> None:
    """CSV with and without heading, YAML maps and lists, JSON: the same hosts."""
    assert read_hosts([], None, written(tmp_path, name, text)) == {"a": "az-1", "b": "az-2"}


def test_a_file_may_leave_the_zone_to_the_option(tmp_path: Path) -> None:
    """What stands beside a host beats --az."""
    file = written(tmp_path, "hosts.csv", "a\nb,az-2\n")
    assert read_hosts([], "az-1", file) == {"a": "az-1", "b": "az-2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n", r"line 1: has no AZ"),
        ("a,x\na,y\n", r"line 2: host a is in x \(got 'y'\)"),
        ("a,b,c\n", r"line 1: must be host,az"),
        ("a\x07,x\n", r"line 1: an id must not hold control characters"),
    ],
)
def test_faults_name_their_line(tmp_path: Path, text: str, said: str) -> None:
    """Where it stands, what is there, what is wrong."""
    with pytest.raises(ConfigError, match=said):
        read_hosts([], None, written(tmp_path, "hosts.csv", text))


def test_no_hosts_at_all_is_a_mistake() -> None:
    """Nothing named, nothing done."""
    with pytest.raises(ConfigError, match="no hosts are named"):
        read_hosts([], "az-1", None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Not a traceback but its name."""
    with pytest.raises(ConfigError, match=r"absent\.csv: No such file"):
        read_hosts([], None, tmp_path / "absent.csv")

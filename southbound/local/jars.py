"""Kafka's jars: a complete pinned list, fetched once, checked each time.

The rule: a jar whose SHA-256 is not the pinned one is never put on a class path. The list is
complete, so nothing is resolved: jgo only fetches each coordinate from the configured repository
(its own choice of versions would take an older kafka-clients). A Kafka that a person has installed
and named is theirs, and used as it is.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from southbound.errors import ConfigError, EdgeError, Fault

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA_VERSION = "4.3.1"
VARIABLE = "SOUTHBOUND_KAFKA_JARS"
Progress = Callable[[str], None]

_PINS_FILE = f"kafka-{KAFKA_VERSION}.jars"
_FETCHES_AT_ONCE = 8
_TRIES = 3
_TIMEOUT_S = 60
_FAULTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Pin:
    """One jar: its Maven coordinate `group:artifact:version` and the SHA-256 of its bytes."""

    coordinate: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Name of the jar's file."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def pins() -> tuple[Pin, ...]:
    """Return every jar that a broker needs."""
    text = resources.files("southbound.local").joinpath(_PINS_FILE).read_text()
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(Pin(coordinate, sha256) for coordinate, sha256 in rows)


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Return where fetched jars are kept."""
    caches = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(caches) / "southbound" / f"kafka-{KAFKA_VERSION}"


def kafka_jars(environ: Mapping[str, str], progress: Progress) -> tuple[Path, ...]:
    """Return the jars of a broker's class path, fetching those that are missing.

    Raises `ConfigError` when a named folder does not hold them, `EdgeError` when they cannot be
    fetched or what was fetched is not what was pinned.
    """
    named = environ.get(VARIABLE)
    if named:
        return _named_jars(Path(named))
    folder = cache_dir(environ)
    wanted = pins()
    missing = [pin for pin in wanted if not _matches(folder / pin.file_name, pin)]
    if missing:
        _fetch(missing, folder, progress)
    return tuple(folder / pin.file_name for pin in wanted)


def _named_jars(folder: Path) -> tuple[Path, ...]:
    """Return the jars of a Kafka installation, or those of a plain folder, which must match."""
    for libs in (folder / "libs", folder):
        if (libs.parent / "bin" / "kafka-server-start.sh").is_file():
            return tuple(sorted(libs.absolute().glob("*.jar")))
    faults = [fault for pin in pins() if (fault := _fault(folder, pin))]
    if faults:
        more = len(faults) - _FAULTS_SHOWN
        note = f" ({more} more like these)" if more > 0 else ""
        raise ConfigError(
            f"{VARIABLE} names neither a Kafka installation nor the jars of Kafka "
            f"{KAFKA_VERSION}{note}",
            faults[:_FAULTS_SHOWN],
        )
    return tuple(folder.absolute() / pin.file_name for pin in pins())


def _fault(folder: Path, pin: Pin) -> Fault | None:
    jar = folder / pin.file_name
    if not jar.is_file():
        return Fault(VARIABLE, str(jar), "there is no such jar")
    if not _matches(jar, pin):
        return Fault(VARIABLE, str(jar), f"its SHA-256 is not {pin.sha256}: not used")
    return None


def _matches(jar: Path, pin: Pin) -> bool:
    return jar.is_file() and _sha256(jar) == pin.sha256


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _fetch(missing: Sequence[Pin], folder: Path, progress: Progress) -> None:
    """Fetch jars into a folder of their own, and move each into the cache once it is proven."""
    progress(f"fetching {len(missing)} jars of Kafka {KAFKA_VERSION} into {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as staging:
        context = _maven(Path(staging))
        # The calling thread waits here: what is submitted is bounded by the pinned list.
        with ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool:
            fetches = [pool.submit(_fetch_one, context, pin, folder) for pin in missing]
            try:
                for done, fetch in enumerate(as_completed(fetches), start=1):
                    fetch.result()
                    if done % 10 == 0 or done == len(missing):
                        progress(f"fetched {done} of {len(missing)} jars")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _maven(staging: Path) -> MavenContext:
    """Return jgo's view of the repositories: those of its own configuration, else its default."""
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext
    except ImportError as error:
        raise ConfigError(
            f"fetching Kafka needs southbound's `local` extra; or name its jars by {VARIABLE}"
        ) from error
    configured = GlobalSettings.load().repositories or None
    return MavenContext(repo_cache=staging, remote_repos=configured, timeout=_TIMEOUT_S)


def _fetch_one(context: MavenContext, pin: Pin, folder: Path) -> None:
    fetched = _download(context, pin)
    found = _sha256(fetched)
    if found != pin.sha256:
        raise EdgeError(
            f"{pin.coordinate} as fetched is not the pinned jar: SHA-256 {found}, "
            f"not {pin.sha256}: not used",
            retryable=False,
        )
    # A rename within the folder: readers see the whole jar or none, also with two fetchers.
    fetched.replace(folder / pin.file_name)


def _download(context: MavenContext, pin: Pin) -> Path:
    group, artifact, version = pin.coordinate.split(":")
    wanted = context.project(group, artifact).at_version(version).artifact()
    for attempt in range(1, _TRIES + 1):
        try:
            return Path(wanted.resolve())
        # jgo lets through whatever its HTTP library raises, and raises RuntimeError itself.
        except (OSError, RuntimeError) as error:
            # What a broken download left behind would pass for the whole file.
            shutil.rmtree(context.repo_cache / wanted.component.path_prefix, ignore_errors=True)
            if attempt == _TRIES:
                raise EdgeError(
                    f"{pin.coordinate} could not be fetched ({type(error).__name__}): is there a "
                    f"way to a Maven repository? Kafka's jars can be named by {VARIABLE}",
                    retryable=True,
                ) from error
            time.sleep(attempt)
    raise AssertionError("the last try returns or raises")

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from southbound.errors import ConfigError, EdgeError
from southbound.local import jars

CONTENT = b"a jar"
RIGHT = hashlib.sha256(CONTENT).hexdigest()


class Repository:
    """Stands for jgo: serves the same bytes for each coordinate, or fails a number of times."""

    def __init__(self, folder: Path, failures: Sequence[Exception] = ()) -> None:
        self.repo_cache = folder
        self.failures = list(failures)
        self.served: list[str] = []

    def project(self, group: str, artifact: str) -> "Repository":
        """Remember the project, as jgo's objects do."""
        self.coordinate = f"{group}:{artifact}"
        return self

    def at_version(self, version: str) -> "Repository":
        """Add the version."""
        self.coordinate += f":{version}"
        self.path_prefix = Path(self.coordinate)
        return self

    def artifact(self) -> "Repository":
        """Return the jar's file of the component."""
        return self

    @property
    def component(self) -> "Repository":
        """Stands for the component that the file belongs to."""
        return self

    def resolve(self) -> Path:
        """Write half a file and fail, or the whole one."""
        file = self.repo_cache / self.path_prefix / "x.jar"
        file.parent.mkdir(parents=True, exist_ok=True)
        assert not file.exists(), "a broken download was left behind"
        if self.failures:
            file.write_bytes(CONTENT[:2])
            raise self.failures.pop(0)
        file.write_bytes(CONTENT)
        self.served.append(self.coordinate)
        return file


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("southbound.local.jars.time.sleep", lambda _seconds: None)


def use(
    monkeypatch: pytest.MonkeyPatch, pins: Sequence[jars.Pin], failures: Sequence[Exception] = ()
) -> list[Repository]:
    """Pin these jars and serve them; returns the repositories that were opened."""
    opened: list[Repository] = []

    def maven(staging: Path) -> Repository:
        opened.append(Repository(staging, failures))
        return opened[-1]

    monkeypatch.setattr(jars, "pins", lambda: tuple(pins))
    monkeypatch.setattr(jars, "_maven", maven)
    return opened


def test_the_pinned_list_is_whole_and_each_name_is_once() -> None:
    """92 jars with a hash each, Kafka's own of one version, and what makes it log."""
    pins = jars.pins()
    assert len({pin.file_name for pin in pins}) == len(pins) == 92
    assert {len(pin.sha256) for pin in pins} == {64}
    kafkas = {pin.coordinate.rpartition(":")[2] for pin in pins if "org.apache.kafka:" in str(pin)}
    assert kafkas == {jars.KAFKA_VERSION}
    assert any(pin.coordinate.startswith("org.apache.logging.log4j:log4j-core:") for pin in pins)


def test_missing_jars_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call finds them, and nothing but jars stays in the cache."""
    opened = use(monkeypatch, [jars.Pin("g:a:1", RIGHT)])
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    said: list[str] = []
    first = jars.kafka_jars(environ, said.append)
    assert jars.kafka_jars(environ, said.append) == first
    assert [repository.served for repository in opened] == [["g:a:1"]]
    assert [file.name for file in first[0].parent.iterdir()] == ["a-1.jar"]
    assert any("fetched 1 of 1" in line for line in said)


def test_a_damaged_jar_in_the_cache_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never used as it is."""
    use(monkeypatch, [jars.Pin("g:a:1", RIGHT)])
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    damaged = jars.cache_dir(environ) / "a-1.jar"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"half")
    assert jars.kafka_jars(environ, print)[0].read_bytes() == CONTENT


def test_what_is_fetched_and_not_as_pinned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the jar and both hashes; nothing stays in the cache."""
    wrong = "0" * 64
    use(monkeypatch, [jars.Pin("g:a:1", wrong)])
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    with pytest.raises(EdgeError, match=f"g:a:1 .*{RIGHT}.*{wrong}") as caught:
        jars.kafka_jars(environ, print)
    assert not caught.value.retryable
    assert list(jars.cache_dir(environ).iterdir()) == []


@pytest.mark.usefixtures("no_waiting")
def test_a_broken_download_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the half that came does not pass for the whole."""
    broken = [ConnectionError("reset"), RuntimeError("not there")]
    use(monkeypatch, [jars.Pin("g:a:1", RIGHT)], broken)
    (jar,) = jars.kafka_jars({"XDG_CACHE_HOME": str(tmp_path)}, print)
    assert jar.read_bytes() == CONTENT


@pytest.mark.usefixtures("no_waiting")
def test_no_repository_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last try: one sentence with the way out."""
    use(monkeypatch, [jars.Pin("g:a:1", RIGHT)], [ConnectionError("no way")] * 3)
    with pytest.raises(EdgeError, match=r"g:a:1 could not be fetched.*SOUTHBOUND_KAFKA_JARS"):
        jars.kafka_jars({"XDG_CACHE_HOME": str(tmp_path)}, print)


def test_a_named_folder_is_used_when_every_jar_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the pinned jars of it, whatever else lies there."""
    use(monkeypatch, [jars.Pin("g:a:1", RIGHT)])
    (tmp_path / "a-1.jar").write_bytes(CONTENT)
    (tmp_path / "other.jar").write_bytes(b"?")
    assert jars.kafka_jars({jars.VARIABLE: str(tmp_path)}, print) == (tmp_path / "a-1.jar",)


@pytest.mark.parametrize(("content", "problem"), [(b"?", "not used"), (None, "no such jar")])
def test_a_named_folder_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, problem: str
) -> None:
    """The fault names the jar; nothing is fetched in its place."""
    opened = use(monkeypatch, [jars.Pin("g:a:1", RIGHT)])
    if content:
        (tmp_path / "a-1.jar").write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        jars.kafka_jars({jars.VARIABLE: str(tmp_path)}, print)
    assert str(tmp_path / "a-1.jar") in str(caught.value)
    assert opened == []


@pytest.mark.parametrize("below", ["", "libs"])
def test_an_installed_kafka_is_used_as_it_is(tmp_path: Path, below: str) -> None:
    """Its folder, or the libs in it, may be named."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kafka-server-start.sh").touch()
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-4.9.jar").touch()
    found = jars.kafka_jars({jars.VARIABLE: str(tmp_path / below)}, print)
    assert found == (tmp_path / "libs" / "kafka_2.13-4.9.jar",)

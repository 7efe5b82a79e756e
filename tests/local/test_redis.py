from pathlib import Path

import pytest

from southbound.errors import ConfigError
from southbound.local import redis


def program(file: Path) -> Path:
    """Make something that could be started."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o755)
    return file


def test_a_named_server_wins(tmp_path: Path) -> None:
    """Over the one on PATH."""
    named, other = program(tmp_path / "mine"), program(tmp_path / "bin" / "redis-server")
    environ = {redis.VARIABLE: str(named), "PATH": str(other.parent)}
    assert redis.find_redis(environ) == named


@pytest.mark.parametrize("name", ["", "nothing"])
def test_a_named_server_that_is_no_program_is_an_error(tmp_path: Path, name: str) -> None:
    """A folder or nothing at all: named, not passed over."""
    with pytest.raises(ConfigError, match=redis.VARIABLE):
        redis.find_redis({redis.VARIABLE: str(tmp_path / name)})


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_one_on_path_is_found(tmp_path: Path, name: str) -> None:
    """Under either name."""
    assert redis.find_redis({"PATH": str(tmp_path)}) != tmp_path / name
    server = program(tmp_path / name)
    assert redis.find_redis({"PATH": str(tmp_path)}) == server


def test_none_at_all_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the three ways out."""
    monkeypatch.setattr(redis, "_brought_along", lambda: (_ for _ in ()).throw(redis._missing()))
    with pytest.raises(
        ConfigError, match=r"redis-server or valkey-server.*SOUTHBOUND_REDIS.*local"
    ):
        redis.find_redis({"PATH": "/nonexistent"})


def test_it_persists_and_listens_on_the_loopback_address_only() -> None:
    """Unless overridden."""
    settings = redis.RedisSettings(overrides={"appendonly": "no"})
    plain = redis.RedisServer(name="redis", directory=Path("/x"), port=1)
    volatile = redis.RedisServer(name="redis", directory=Path("/x"), port=1, settings=settings)
    assert plain.properties()["bind"] == "127.0.0.1"
    assert (plain.properties()["appendonly"], volatile.properties()["appendonly"]) == ("yes", "no")

"""How tests run the command: in this process, without a Redis, a fleet or settings of anybody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from southbound.cli.main import app

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `southbound` with words; it must end without a traceback."""
    monkeypatch.delenv("SOUTHBOUND_REDIS_URL", raising=False)
    monkeypatch.delenv("SOUTHBOUND_TRACKER", raising=False)
    monkeypatch.setenv("SOUTHBOUND_LOCAL_DIR", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)

    def call(*words: str, input: str | None = None) -> Result:  # noqa: A002  # typer's word
        result = CliRunner().invoke(app, list(words), input=input)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        assert "Traceback" not in result.output
        return result

    return call

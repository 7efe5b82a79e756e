from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from typer.testing import CliRunner

from southbound.cli.janitor import _served
from southbound.cli.main import app
from southbound.janitor.service import Janitor
from southbound.settings import DirectorySettings, JanitorSettings


def test_a_janitor_answers_over_http(capsys: pytest.CaptureFixture[str]) -> None:
    """Before its first sweep it is not ready, and says why; metrics are there from the start."""
    janitor = Janitor(JanitorSettings(), DirectorySettings())
    with _served(janitor, "127.0.0.1:0"):
        base = capsys.readouterr().err.split()[-1]
        with urllib.request.urlopen(f"{base}/metrics", timeout=5) as answer:
            assert b"southbound_janitor_repairs_total" in answer.read()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{base}/readyz", timeout=5)
        with refused.value as error:
            assert error.code == 503
            assert b"no sweep has gone through everything yet" in error.read()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--sweep-seconds", "3000"], "sweep_every_s"),
        (["--delete-retention-days", "0"], "delete_retention_s"),
        (["--moves-retention-days", "1"], "moves_retention_s"),
        (["--health", "nowhere"], "HOST:PORT"),
    ],
)
def test_a_mistake_is_a_message(options: list[str], word: str) -> None:
    """It names the setting, and nothing was begun."""
    done = CliRunner().invoke(
        app, ["janitor", "run", "--redis", "redis://127.0.0.1:1/0", "--state-dir", "x", *options]
    )
    assert done.exit_code == 2
    assert word in done.stderr

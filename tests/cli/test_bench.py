from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from typer.testing import Result

from southbound.bench import machine
from southbound.bench.result import BenchResult, Row
from southbound.cli import bench
from southbound.cli.session import Output, Session

_RESULT = BenchResult("publish", (Row("accepted", 51_234.0, "changes/s", ">= 1"),))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working folder; no Redis is asked for its version."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "software", lambda _url, _environ: {"kafka": "4.3.1"})
    return tmp_path


def test_a_size_out_of_range_is_named(run: Callable[..., Result]) -> None:
    """No server is started for a command that cannot be run."""
    result = run("bench", "publish", "--hosts", "0")
    assert result.exit_code == 2
    assert "--hosts" in result.output


def test_a_result_is_printed_with_its_machine(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person sees the numbers, then what they were measured on."""
    bench.report(Session(), _RESULT, "redis://nowhere")
    printed = capsys.readouterr().out
    assert "51,234" in printed
    assert printed.index("51,234") < printed.index("cores") < printed.index("4.3.1")


def test_a_result_is_kept_as_it_is_printed_for_programs(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The JSON on standard output and the file under bench/ are the same document."""
    monkeypatch.setattr(sys, "argv", ["/bin/southbound", "bench", "publish", "--scale", "0.1"])
    bench.report(Session(output=Output.JSON), _RESULT, "redis://nowhere")
    printed = msgspec.json.decode(capsys.readouterr().out)
    (file,) = (here / "bench").iterdir()
    assert msgspec.json.decode(file.read_bytes()) == printed
    assert printed["rows"][0]["value"] == 51_234.0
    assert printed["command"] == "southbound bench publish --scale 0.1"
    assert datetime.fromisoformat(printed["at"]).tzinfo is not None


def test_amounts_show_the_digits_that_count() -> None:
    """Large numbers are whole, small ones have three digits."""
    assert bench.amount(51_234.4) == "51,234"
    assert bench.amount(0.7213) == "0.721"

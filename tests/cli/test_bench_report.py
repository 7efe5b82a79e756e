from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from typer.testing import Result

Run = Callable[..., Result]


def test_a_folder_without_documents_gives_a_page_that_says_so(run: Run, tmp_path: Path) -> None:
    """What is written is listed; what there is no data for is told on standard error."""
    (tmp_path / "bench").mkdir()
    result = run("--output", "json", "bench", "report", "--hosts", "100")
    assert result.exit_code == 0
    files = msgspec.json.decode(result.stdout)
    assert files[0] == {"kind": "page", "file": "bench/report/index.html"}
    assert all((tmp_path / row["file"]).is_file() for row in files)
    assert "No data yet for latency: run `southbound bench latency`." in result.stderr


def test_a_folder_that_is_not_there_is_named(run: Run) -> None:
    """Nothing is made in its place."""
    result = run("bench", "report", "--from", "nowhere")
    assert result.exit_code == 2
    assert "nowhere" in result.output


def test_unit_costs_that_are_not_there_are_named(run: Run) -> None:
    """Before any server is started."""
    result = run("bench", "capacity", "--units", "nowhere.json")
    assert result.exit_code == 2
    assert "nowhere.json" in result.output

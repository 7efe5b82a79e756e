"""The guided fuzzer itself: what it must find is planted, and it finds it within seconds."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.fuzz.planted import LENGTH_MIN, WORD
from tests.fuzz.record import FuzzRecord

_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 40

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="the guided fuzzer is not installed: `make fuzz` does (pip install -e .[fuzz])",
)


def _fuzzed(folder: Path, *words: str, status: int) -> FuzzRecord:
    """Run the fuzzer as `make fuzz` does; return what it wrote down."""
    file = folder / "fuzz.json"
    where = ("--folder", str(folder / "corpora"), "--record", str(file))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *where, *words],
        cwd=_ROOT, capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return msgspec.json.decode(file.read_bytes(), type=FuzzRecord)


@pytest.mark.parametrize(
    ("planted", "kind", "bounds"),
    [
        ("crash", "crash", ()),
        ("bomb", "oom", ("--memory-mib-max", "300")),
        ("hang", "timeout", ("--seconds-max", "1")),
    ],
)
def test_what_is_planted_is_found(
    tmp_path: Path, planted: str, kind: str, bounds: tuple[str, ...]
) -> None:
    """Behind a length and three bytes; the input is kept, and the run fails."""
    words = ("--planted", planted, "--seconds", str(_SECONDS), *bounds)
    record = _fuzzed(tmp_path, *words, status=1)
    (run,) = record.targets
    (finding,) = run.findings
    assert finding.kind == kind
    data = bytes.fromhex(finding.input)
    assert len(data) >= LENGTH_MIN
    assert data[2:5] == WORD
    kept = next((tmp_path / "corpora" / planted / "findings").iterdir())
    assert kept.read_bytes() == data


def test_a_reader_is_fuzzed_with_its_coverage_told(tmp_path: Path) -> None:
    """The product's code is what is covered; nothing is found in what is sound."""
    record = _fuzzed(tmp_path, "--target", "key", "--seconds", "2", status=0)
    (run,) = record.targets
    assert run.executions > 100
    assert run.coverage > 10
    assert run.findings == []

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from southbound.bench.result import BenchResult, Row, write_result

_RESULT = BenchResult(
    "publish",
    rows=(Row("accepted", 50_000.0, "changes/s"),),
    baseline=(Row("bare", 60_000.0, "records/s"),),
    ratios=(Row("accepted / bare", 0.83, "x", ">= 0.7"),),
    settings={"linger.ms": "5"},
)


def test_a_result_is_plain_data_with_every_number_named() -> None:
    """Baselines, ratios, aims and settings stand in the document beside what was measured."""
    document = _RESULT.document()
    assert document["rows"] == [
        {"metric": "accepted", "value": 50_000.0, "unit": "changes/s", "aim": ""}
    ]
    assert document["baseline"][0]["value"] == 60_000.0
    assert document["ratios"][0]["aim"] == ">= 0.7"
    assert document["settings"] == {"linger.ms": "5"}


def test_each_run_leaves_a_file_of_its_own(tmp_path: Path) -> None:
    """The file's name says what and when; its JSON is the whole document."""
    folder = tmp_path / "bench"
    first = write_result(_RESULT.document(), folder, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    second = write_result(_RESULT.document(), folder, datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))
    assert first.name == "publish-20260102T030405Z.json"
    assert sorted(folder.iterdir()) == [first, second]
    assert msgspec.json.decode(first.read_bytes()) == _RESULT.document()

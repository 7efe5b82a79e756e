from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.record import Cell
from tests.faults.record import Record as FaultsRecord
from tests.reliability.__main__ import PAGE, RECORDS
from tests.reliability.anomalies import ANOMALIES
from tests.reliability.ledger import page
from tests.reliability.promises import PROMISES
from tests.reliability.records import Records, read

_ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_records_say() -> None:
    """Nobody has written a number into it by hand."""
    assert PAGE.read_text(encoding="utf-8") == page(read(RECORDS))


@pytest.mark.parametrize("path", [path for one in PROMISES for path, _ in one.tested])
def test_what_is_named_is_there(path: str) -> None:
    """Tests and folders of each promise exist."""
    assert (_ROOT / path).exists()


@pytest.mark.parametrize("test", [one.test for one in ANOMALIES])
def test_every_anomaly_has_its_test(test: str) -> None:
    """It is in the file that is named."""
    file, _, name = test.partition("::")
    assert f"def {name}(" in (_ROOT / file).read_text(encoding="utf-8")


def test_a_record_that_is_missing_is_said_to_be() -> None:
    """And nothing is filled in."""
    text = page(Records())
    assert text.count("No record of it is there") == 6


def test_a_cell_that_broke_is_open() -> None:
    """It counts as not held, and stands among what was found."""
    cell = Cell(
        name="test_x", part="agent", kind="kill", fault="SIGKILL", promises=(1,), verdict="broken"
    )
    text = page(Records(faults=FaultsRecord(cells=[cell])))
    assert "0 of 1 cells held" in text
    assert "**open**: agent, SIGKILL" in text

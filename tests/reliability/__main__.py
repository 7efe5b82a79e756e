"""The ledger from the command line.

python -m tests.reliability model     run the model, and write its record
python -m tests.reliability write     make docs/reliability.md from the records
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.reliability.ledger import page
from tests.reliability.records import read, run_model

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECORDS = DOCS / "reliability"
PAGE = DOCS / "reliability.md"


def main() -> int:
    """Do what is asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("verb", choices=("model", "write"))
    given = parser.parse_args()
    RECORDS.mkdir(exist_ok=True)
    if given.verb == "model":
        run_model(RECORDS / "model.json")
    else:
        PAGE.write_text(page(read(RECORDS)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Exhaust the slices of the model, and show how each planted bug breaks a promise.

python -m tests.model            what the tests go through, with numbers
python -m tests.model --deep     larger slices too: minutes, and up to 6 GiB
python -m tests.model --bugs     the shortest way to a violation, for each planted bug
python -m tests.model WORD...    only what has the words in its name
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from tests.model.engine import Model, Violation, exhaust, search
from tests.model.slices import models, planted


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _exhaust(name: str, model: Model[Any]) -> bool:
    began = time.process_time()
    try:
        found = exhaust(model)
    except Violation as violation:
        _say(f"{name}: {violation}")
        return False
    took = time.process_time() - began
    _say(f"{found.states:>9,} states {found.steps:>10,} steps {took:>6.1f} s  {name}")
    return True


def _show(name: str, model: Model[Any]) -> bool:
    violation = search(model)
    _say(f"{name}: {violation or 'NOT FOUND'}")
    return violation is not None


def main() -> int:
    """Run what was asked for; 0 when all promises hold and all bugs are found."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--deep", action="store_true", help="larger slices too")
    parser.add_argument("--bugs", action="store_true", help="show how planted bugs are found")
    parser.add_argument("words", nargs="*", help="only what has these words in its name")
    asked = parser.parse_args()
    wanted = planted() if asked.bugs else models(deep=asked.deep)
    run = _show if asked.bugs else _exhaust
    names = [name for name in wanted if all(word in name for word in asked.words)]
    # Each is let go of before the next: a slice holds all of its states.
    failed = [name for name in names if not run(name, wanted.pop(name))]
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

"""What every test may ask for: names of its own, and the sample data beside the repository.

The rule: tests share servers, so they never share names; nothing here starts anything.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

_CROWD = 1_000 * min(5, os.cpu_count() or 1)
_SHARED = Path(__file__).resolve().parents[2] / "shared"

# Other work on the machine makes a single example slow now and then; that is no fault of the code.
hypothesis.settings.register_profile(
    "southbound",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("southbound")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the options of the fault matrix (tests/faults), which only this file may name."""
    group = parser.getgroup("faults")
    group.addoption("--faults", action="store_true", help="run the whole fault matrix")
    group.addoption("--faults-record", metavar="FILE", help="write the cells' verdicts as JSON")
    group.addoption(
        "--crowd",
        type=int,
        default=_CROWD,
        metavar="N",
        help="how many agents come back at once [a thousand for each processor, at most 5,000]",
    )
    group = parser.getgroup("hostile")
    group.addoption(
        "--malformed", type=int, default=20_000, metavar="N", help="how many malformed records"
    )
    group.addoption("--hostile-record", metavar="FILE", help="write what an agent took as JSON")


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Return a function that makes ids nobody else has: `unique("host")` is like `host-3f9c01ab-0`.

    Not made with `random`, whose seed is the same for every test.
    """
    mine = uuid.uuid4().hex[:8]
    numbers = itertools.count()
    return lambda noun: f"{noun}-{mine}-{next(numbers)}"


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_person_who_runs_the_tests() -> None:
    """Keep a named fleet of the person who runs the tests out of them."""
    os.environ.pop("SOUTHBOUND_LOCAL_DIR", None)


def _shared(folder: str) -> Path:
    path = _SHARED / folder
    if not path.is_dir():
        pytest.skip(f"the samples of ../shared/{folder} are not beside this repository")
    return path


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of real samples (Neutron's); skips, and says so, where it is absent."""
    return _shared("data")


@pytest.fixture
def shared_golden() -> Path:
    """Return the folder of golden vectors; skips, and says so, where it is absent."""
    return _shared("golden")

"""A soak from the command line: `python -m tests.soak --minutes 30 --seed 7 --record FILE`.

It ends with 1 when anything was wrong, a slope included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from southbound.local.fleet import LocalFleet
from tests.faults.record import commit, now
from tests.faults.stage import stage_on
from tests.live.conftest import SETTINGS
from tests.live.shards_kit import small_topology
from tests.soak.run import Soak, SoakRecord


def main() -> int:
    """Run, tell, and judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    at = now()
    with tempfile.TemporaryDirectory(prefix="southbound-soak-") as folder:
        record = _soak(Path(folder), given.minutes, given.seed)
    record.at, record.commit = at, commit()
    if given.record is not None:
        given.record.parent.mkdir(parents=True, exist_ok=True)
        given.record.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))
    _tell(record)
    return 1 if record.anomalies else 0


def _soak(folder: Path, minutes: float, seed: int) -> SoakRecord:
    fleet = LocalFleet(folder / "fleet", SETTINGS)
    fleet.up(2, 1)
    try:
        with stage_on(fleet, small_topology(fleet)) as stage:
            return Soak(stage, fleet, folder, seed).run(minutes)
    finally:
        fleet.down(wipe=True)


def _tell(record: SoakRecord) -> None:
    lines = [
        f"seed {record.seed}: {record.minutes:g} minutes, {record.rounds} rounds",
        f"{record.operations} accepted changes, {record.moves} moves",
        *(f"  {count} x {name}" for name, count in sorted(record.faults.items())),
        f"{'grows':28} {'from':>9} {'to':>9} {'a minute':>9} {'at most':>8}",
        *(
            f"{one.name:28} {one.first:9.1f} {one.last:9.1f} {one.per_minute:9.2f} {one.bound:8.1f}"
            for one in record.slopes
        ),
        *(f"WRONG: {words}" for words in record.anomalies),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())

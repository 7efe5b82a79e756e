"""A soak from the command line: `python -m tests.soak --minutes 30 --seed 7 --record FILE`.

It ends with 1 when anything was wrong, a slope included.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from southbound.edge.topics import TopicSettings
from tests.faults.record import commit, now
from tests.faults.stage import stage_on
from tests.live.conftest import SETTINGS
from tests.live.shards_kit import small_topology
from tests.soak.crew import LAG_S
from tests.soak.links import LinkedFleet
from tests.soak.run import Soak, SoakRecord

# Logs are compacted all the time, and the janitor keeps ahead of it as it must in production.
_TOPICS = TopicSettings(
    compaction_lag_ms=int(LAG_S * 1_000),
    overrides={"segment.ms": "15000", "min.cleanable.dirty.ratio": "0.01"},
)


def main() -> int:
    """Run, tell, and judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    at = now()
    # Whoever ends it early has its servers ended, too.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    # That a cluster is away is what is done to it: agents of this process need not say so.
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="southbound-soak-") as folder:
        record = _soak(Path(folder), given.minutes, given.seed)
    record.at, record.commit = at, commit()
    if given.record is not None:
        given.record.parent.mkdir(parents=True, exist_ok=True)
        given.record.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))
    _tell(record)
    return 1 if record.anomalies else 0


def _soak(folder: Path, minutes: float, seed: int) -> SoakRecord:
    fleet = LinkedFleet(folder / "fleet", SETTINGS)
    try:
        fleet.up(2, 1)
        topology = small_topology(fleet, _TOPICS)
        with stage_on(fleet, topology) as stage:
            return Soak(stage, fleet, topology, folder, seed).run(minutes)
    finally:
        fleet.close()


def _tell(record: SoakRecord) -> None:
    lines = [
        f"seed {record.seed}: {record.minutes:g} minutes, {record.rounds} rounds",
        f"{record.operations} accepted changes, {record.moves} moves",
        *(
            f"  {one.times} x {name}: {one.fault_s:g} s, and {one.check_s:g} s until all was right"
            for name, one in sorted(record.took.items())
        ),
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

"""The ledger as a page: promises, runs, faults by kind, what was found, what is not covered. Pure.

The rule: every number on it is counted from a record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from southbound.failpoints import POINTS
from tests.faults.record import Cell
from tests.faults.record import Record as FaultsRecord
from tests.fuzz.record import FuzzRecord
from tests.live.hostile_records import HostileRecord
from tests.reliability.anomalies import ANOMALIES
from tests.reliability.promises import NOT_COVERED, PROMISES, Promise
from tests.reliability.records import ModelRecord, Records, SimulationRecord
from tests.soak.run import SoakRecord, Taken

_HEAD = """\
# What is promised, and what stands behind it

Made by `python -m tests.reliability write` from the records in [reliability](reliability); every
number below is counted from them. Whoever changes the product runs

    make faults FAULTS_RECORD=docs/reliability/faults.json
    make soak MINUTES=30 SOAK_RECORD=docs/reliability/soak.json
    python -m tests.simulation --everything --record docs/reliability/simulation.json
    python -m tests.reliability model
    make hostile MALFORMED=1000000 HOSTILE_RECORD=docs/reliability/hostile.json
    make fuzz SECONDS=1800 FUZZ_RECORD=docs/reliability/fuzz.json
    python -m tests.reliability write
"""


def page(records: Records) -> str:
    """Return the whole page, as Markdown."""
    lines: list[str] = [_HEAD, "## The promises", ""]
    for promise in PROMISES:
        lines += _promise(promise, records)
    lines += ["## The fault matrix", "", *_faults(records.faults)]
    lines += ["## The simulation", "", *_simulation(records.simulation)]
    lines += ["## The model", "", *_model(records.model)]
    lines += ["## The soak", "", *_soak(records.soak)]
    lines += ["## Malformed records", "", *_hostile(records.hostile)]
    lines += ["## Fuzzing", "", *_fuzz(records.fuzz)]
    lines += ["## What was found", "", *_found(records)]
    lines += ["## What is not covered", "", *(f"- {words}" for words in NOT_COVERED)]
    return "\n".join(lines) + "\n"


def _promise(promise: Promise, records: Records) -> Iterator[str]:
    yield f"### {promise.number}. {promise.words}"
    yield ""
    yield "How it is tested:"
    yield ""
    for path, what in promise.tested:
        yield f"- `{path}`: {what}"
    cells = [one for one in _cells(records) if promise.number in one.promises]
    if cells:
        held = sum(one.verdict == "held" for one in cells)
        times = sum(one.faults for one in cells)
        yield f"- of the fault matrix: {held} of {len(cells)} cells held, {times:,} faults injected"
    yield ""
    yield "What it assumes:"
    yield ""
    for words in promise.assumes:
        yield f"- {words}"
    yield ""


def _cells(records: Records) -> Sequence[Cell]:
    return records.faults.cells if records.faults is not None else ()


def _missing(command: str) -> list[str]:
    return [f"No record of it is there: `{command}` writes one.", ""]


def _faults(record: FaultsRecord | None) -> Iterable[str]:
    if record is None:
        return _missing("make faults")
    groups: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in record.cells:
        groups[cell.part, cell.kind].append(cell)
    points = {name for cell in record.cells for name in cell.failpoints}
    operations = sum(cell.operations for cell in record.cells)
    times, commits = sorted(_times(record.cells)), sorted({one.commit for one in record.cells})
    between = f"Run from {times[0]} to {times[-1]}" if times else "Run"
    lines = [
        (
            f"{between} on {', '.join(f'`{one}`' for one in commits)}: {len(record.cells)} cells in "
            f"{sum(one.seconds for one in record.cells) / 60:.0f} minutes of their own, "
            f"{len(points)} of {len(POINTS)} failpoints killed at, {operations:,} accepted "
            "revisions, rows or damaged files judged. A skipped cell, or one that has never run, "
            "is not among them."
        ),
        "",
        "| part | fault | cells | faults | judged | held |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for (part, kind), cells in sorted(groups.items()):
        held = sum(one.verdict == "held" for one in cells)
        faults = sum(one.faults for one in cells)
        judged = sum(one.operations for one in cells)
        lines.append(f"| {part} | {kind} | {len(cells)} | {faults:,} | {judged:,} | {held} |")
    lines += ["", "Each cell, its fault and what must hold:", ""]
    lines += ["| part | fault | holds | verdict |", "|---|---|---|---|"]
    for cell in sorted(record.cells, key=lambda one: (one.part, one.kind, one.fault)):
        seen = "; ".join(f"{name} {value:g}" for name, value in sorted(cell.seen.items()))
        verdict = f"{cell.verdict} ({seen})" if seen else cell.verdict
        lines.append(f"| {cell.part} | {cell.fault} | {cell.invariant} | {verdict} |")
    return [*lines, ""]


def _times(cells: Iterable[Cell]) -> Iterator[str]:
    return (one.at for one in cells)


def _simulation(record: SimulationRecord | None) -> Iterable[str]:
    if record is None:
        return _missing("python -m tests.simulation --record FILE")
    return [
        (
            f"Seeds {record.first_seed:,} to {record.first_seed + record.seeds - 1:,}: "
            f"{record.schedules:,} schedules, {record.steps:,} steps, "
            f"{record.simulated_s / 3600:,.1f} simulated hours in {record.seconds:,.0f} seconds; "
            f"{len(record.anomalies)} anomalies."
        ),
        "",
        "| | times |",
        "|---|---:|",
        *(
            f"| operation: {name} | {count:,} |"
            for name, count in sorted(record.operations.items())
        ),
        *(f"| fault: {name} | {count:,} |" for name, count in sorted(record.faults.items())),
        *(f"| event: {name} | {count:,} |" for name, count in sorted(record.events.items())),
        "",
        f"Planted bugs caught: {len(record.caught)} of {len(record.caught) + len(record.missed)}.",
        "",
        *(f"- {name} (seed {seed})" for name, seed in sorted(record.caught.items())),
        *(f"- **not caught**: {name}" for name in record.missed),
        "",
    ]


def _model(record: ModelRecord | None) -> Iterable[str]:
    if record is None:
        return _missing("python -m tests.reliability model")
    states = sum(one.states for one in record.slices)
    steps = sum(one.steps for one in record.slices)
    return [
        (
            f"Run at {record.at}: {len(record.slices)} slices gone through completely, {states:,} states "
            f"and {steps:,} steps in {sum(one.seconds for one in record.slices):.0f} seconds "
            "(`tests/model/README.md` says what each holds)."
        ),
        "",
        f"Planted bugs caught: {len(record.caught)} of {len(record.caught) + len(record.missed)}.",
        "",
        *(f"- {name}" for name in sorted(record.caught)),
        *(f"- **not caught**: {name}" for name in record.missed),
        "",
    ]


def _soak(record: SoakRecord | None) -> Iterable[str]:
    if record is None:
        return _missing("make soak")
    return [
        (
            f"Run at {record.at} on commit `{record.commit}` with seed {record.seed}: "
            f"{record.minutes:g} minutes ({record.minutes / 60:.2f} hours), {record.rounds} rounds, "
            f"{record.operations:,} accepted changes, {record.moves} moves, {record.looks:,} looks at "
            f"every judged node, {len(record.anomalies)} anomalies."
        ),
        "",
        "| fault | times | seconds each | until all was right |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {count} | {took.fault_s / count:.1f} | {took.check_s / count:.1f} |"
            for name, count in sorted(record.faults.items())
            for took in [record.took.get(name, Taken())]
        ),
        "",
        (
            "The first third of a run is warming up. Each other third has a line of its own, and the "
            "flatter of both is judged (`tests/soak/slopes.py`)."
        ),
        "",
        "| quantity | after a third | at the end | a minute | at most |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {one.name} | {one.first:.1f} | {one.last:.1f} | {one.per_minute:.2f} | {one.bound:g} |"
            for one in record.slopes
        ),
        "",
        *(f"- **wrong**: {words}" for words in record.anomalies),
        "",
    ]


def _hostile(record: HostileRecord | None) -> Iterable[str]:
    if record is None:
        return _missing("make hostile")
    half = record.malformed // 2
    return [
        (
            f"Run at {record.at} on commit `{record.commit}`: {record.malformed:,} malformed records "
            f"of {len(record.kinds)} kinds in one host's slot, and {record.good:,} good ones among "
            "them. All good ones were applied and all malformed ones counted, each for its own reason."
        ),
        "",
        "| quantity | seen | at most |",
        "|---|---:|---:|",
        f"| seconds for the first half, in a snapshot | {record.snapshot_s:.1f} | |",
        f"| malformed records a second meanwhile | {half / max(record.snapshot_s, 0.01):,.0f} | |",
        f"| seconds for the second half, while it was written | {record.live_s:.1f} | |",
        f"| MiB of the agent's process | {record.peak_mib:.1f} | {record.peak_mib_max:g} |",
        f"| MiB of its store | {record.store_mib:.1f} | {record.store_mib_max:g} |",
        f"| rows kept of what was put aside | {record.rows_kept:,} | {record.rows_kept_max:,} |",
        "",
        *(f"- {name}: {count:,}" for name, count in sorted(record.kinds.items())),
        "",
    ]


def _fuzz(record: FuzzRecord | None) -> Iterable[str]:
    if record is None:
        return _missing("make fuzz")
    times = sorted(one.at for one in record.targets)
    commits = sorted({one.commit for one in record.targets})
    return [
        (
            f"Run from {times[0]} to {times[-1]} on {', '.join(f'`{one}`' for one in commits)} by "
            f"{record.engine}, guided by coverage: {len(record.targets)} targets, "
            f"{record.executions:,} executions in {record.seconds / 3600:.2f} hours, "
            f"{len(record.findings)} findings. One input: at most {record.input_bytes_max:,} bytes, "
            f"{record.input_seconds_max} seconds, and {record.memory_mib_max:,} MiB of the process."
        ),
        "",
        "| target | executions | seconds | edges reached | inputs kept | MiB | findings |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {one.target} | {one.executions:,} | {one.seconds:.0f} | {one.coverage:,} | "
            f"{one.corpus:,} | {one.peak_mib:,} | {len(one.findings)} |"
            for one in sorted(record.targets, key=lambda one: one.target)
        ),
        "",
        *(
            f"- **open**: {one.target}, {finding.kind}: `{finding.input[:80]}`"
            for one in record.targets
            for finding in one.findings
        ),
        "",
    ]


def _found(records: Records) -> Iterator[str]:
    yield "Each was mended, and has a test that fails without the remedy:"
    yield ""
    for one in ANOMALIES:
        yield f"- {one.found} Found by {one.by}; `{one.test}`."
    broken = [cell for cell in _cells(records) if cell.verdict != "held"]
    for cell in broken:
        yield f"- **open**: {cell.part}, {cell.fault}: {cell.verdict} (`{cell.name}`)."
    if records.simulation is not None:
        for anomaly in records.simulation.anomalies:
            yield f"- **open**: seed {anomaly.seed}, {anomaly.promise}: {anomaly.what}"
    yield ""

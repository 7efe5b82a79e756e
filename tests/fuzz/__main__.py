"""Coverage-guided fuzzing of every reader of bytes.

    make fuzz SECONDS=600
    python -m tests.fuzz [--seconds N] [--target NAME ...] [--record FILE]

Each target runs in a process of its own (`tests.fuzz.guided`) for its share of the time, from the
samples and from what earlier runs found worth keeping (`var/fuzz/`). The record tells targets,
executions, seconds, coverage and findings; the process ends with 1 when there are findings.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from tests.faults.record import commit, now
from tests.fuzz.guided import LENGTH_MAX, MEMORY_MIB_MAX, SECONDS_MAX
from tests.fuzz.planted import PLANTED
from tests.fuzz.record import Finding, FuzzRecord, TargetRun
from tests.fuzz.targets import BY_NAME

_ROOT = Path(__file__).parents[2]
_GRACE_S = 300.0
"""For a start on a machine that has other work; what hangs on an input, libFuzzer itself ends."""
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb:\s+(\d+)")
_COVERAGE = re.compile(r"cov: (\d+)")
_SAID_MAX = 4_000
_INPUT_MAX = 4_000


def fuzzed(name: str, seconds: float, folder: Path, *options: str) -> TargetRun:
    """Fuzz one target for so long, with its corpus below `folder`; return what there is to tell."""
    slug = name.replace(" ", "-")
    corpus, found = folder / slug / "corpus", folder / slug / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    before = set(found.iterdir())
    began_s, at = time.monotonic(), now()
    is_late = False
    words = [sys.executable, "-m", "tests.fuzz.guided", name, str(corpus), str(found)]
    with subprocess.Popen(
        [*words, str(max(1, round(seconds))), *options],
        cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=seconds + _GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            is_late = True
    findings = list(_findings(sorted(set(found.iterdir()) - before), said[-_SAID_MAX:]))
    if (process.returncode or is_late) and not findings:
        # It ended by itself, or did not end, and told of no input.
        findings.append(Finding(kind="ended", said=said[-_SAID_MAX:]))
    return TargetRun(
        target=name,
        at=at,
        commit=commit(),
        executions=_number(_EXECUTIONS, said),
        seconds=round(time.monotonic() - began_s, 1),
        coverage=_number(_COVERAGE, said),
        peak_mib=_number(_PEAK, said),
        corpus=sum(1 for _ in corpus.iterdir()),
        findings=findings,
    )


def _findings(files: Sequence[Path], said: str) -> Iterator[Finding]:
    for file in files:
        shown = str(file.relative_to(_ROOT)) if file.is_relative_to(_ROOT) else file.name
        yield Finding(
            kind=file.name.partition("-")[0],
            file=shown,
            input=file.read_bytes()[:_INPUT_MAX].hex(),
            said=said,
        )


def _number(pattern: re.Pattern[str], said: str) -> int:
    numbers = pattern.findall(said)
    return int(numbers[-1]) if numbers else 0


def main() -> int:
    """Fuzz, write the record, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=300.0, help="for all targets together")
    parser.add_argument("--target", action="append", choices=sorted(BY_NAME), help="only these")
    parser.add_argument("--record", type=Path, default=_ROOT / "var" / "reliability" / "fuzz.json")
    parser.add_argument("--folder", type=Path, default=_ROOT / "var" / "fuzz", help="of corpora")
    parser.add_argument("--seconds-max", default=str(SECONDS_MAX), help="for one input")
    parser.add_argument("--memory-mib-max", default=str(MEMORY_MIB_MAX), help="of the process")
    parser.add_argument("--planted", choices=sorted(PLANTED), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    names = [asked.planted] if asked.planted else asked.target or list(BY_NAME)
    options = ["--seconds-max", asked.seconds_max, "--memory-mib-max", asked.memory_mib_max]
    options += ["--planted"] if asked.planted else []
    folder, file = asked.folder.absolute(), asked.record.absolute()
    os.chdir(_ROOT)
    record = FuzzRecord.read(file) if asked.target else FuzzRecord()
    record.engine = f"atheris {version('atheris')}"
    record.input_bytes_max = LENGTH_MAX
    record.input_seconds_max = int(asked.seconds_max)
    record.memory_mib_max = int(asked.memory_mib_max)
    for name in names:
        run = fuzzed(name, asked.seconds / len(names), folder, *options)
        record.add(run)
        record.write(file)
        sys.stderr.write(
            f"{name}: {run.executions} executions in {run.seconds} s, coverage "
            f"{run.coverage}, {run.peak_mib} MiB, {len(run.findings)} findings\n"
        )
    sys.stdout.write(f"{record.executions} executions, {len(record.findings)} findings\n")
    return 1 if record.findings else 0


if __name__ == "__main__":
    sys.exit(main())

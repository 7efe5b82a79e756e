"""Coverage-guided fuzzing of every reader of bytes.

    make fuzz SECONDS=600
    python -m tests.fuzz [--seconds N] [--target NAME ...] [--record var/fuzz.json]

Each target runs in a process of its own (`tests.fuzz.guided`) for its share of the time, from the
samples and from what earlier runs found worth keeping (`var/fuzz/`). The record tells targets,
executions, seconds, coverage and findings; the process ends with 1 when there are findings.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.fuzz.targets import BY_NAME

_ROOT = Path(__file__).parents[2]
_GRACE_S = 300.0
"""For a start on a machine that has other work; what hangs on an input, libFuzzer itself ends."""
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb:\s+(\d+)")
_COVERAGE = re.compile(r"cov: (\d+)")
_SAID_MAX = 4_000


def _fuzzed(name: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Fuzz one target for so long; return what there is to tell."""
    slug = name.replace(" ", "-")
    corpus, found = folder / slug / "corpus", folder / slug / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    before = set(found.iterdir())
    began_s = time.monotonic()
    is_late = False
    words = [sys.executable, "-m", "tests.fuzz.guided", name, str(corpus), str(found)]
    with subprocess.Popen(
        [*words, str(max(1, round(seconds)))],
        cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=seconds + _GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            is_late = True
    findings = [_finding(file) for file in sorted(set(found.iterdir()) - before)]
    if process.returncode and not findings and not is_late:
        findings.append({"file": "", "input": ""})
    for finding in findings:
        finding["said"] = said[-_SAID_MAX:]
    return {
        "target": name,
        "executions": _number(_EXECUTIONS, said),
        "seconds": round(time.monotonic() - began_s, 1),
        "coverage": _number(_COVERAGE, said),
        "peak_mib": _number(_PEAK, said),
        "corpus": sum(1 for _ in corpus.iterdir()),
        "is_late": is_late,
        "findings": findings,
    }


def _finding(file: Path) -> dict[str, str]:
    return {"file": str(file.relative_to(_ROOT)), "input": file.read_bytes()[:_SAID_MAX].hex()}


def _number(pattern: re.Pattern[str], said: str) -> int:
    numbers = pattern.findall(said)
    return int(numbers[-1]) if numbers else 0


def main() -> int:
    """Fuzz, write the record, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=300.0, help="for all targets together")
    parser.add_argument("--target", action="append", choices=sorted(BY_NAME), help="only these")
    parser.add_argument("--record", type=Path, default=_ROOT / "var" / "fuzz.json")
    asked = parser.parse_args()
    names = asked.target or list(BY_NAME)
    os.chdir(_ROOT)
    runs = []
    for name in names:
        run = _fuzzed(name, asked.seconds / len(names), _ROOT / "var" / "fuzz")
        runs.append(run)
        sys.stderr.write(
            f"{name}: {run['executions']} executions in {run['seconds']} s, coverage "
            f"{run['coverage']}, {run['peak_mib']} MiB, {len(run['findings'])} findings\n"
        )
        _write(asked.record, runs)
    executions = sum(run["executions"] for run in runs)
    findings = sum(len(run["findings"]) for run in runs)
    sys.stdout.write(f"{executions} executions, {findings} findings\n")
    return 1 if findings else 0


def _write(file: Path, runs: Sequence[Mapping[str, Any]]) -> None:
    """Write the record of what was done so far: a run that is broken off is one all the same."""
    record = {
        "kind": "fuzz",
        "engine": f"atheris {version('atheris')}",
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "targets": runs,
        "executions": sum(run["executions"] for run in runs),
        "seconds": round(sum(run["seconds"] for run in runs), 1),
        "findings": sum(len(run["findings"]) for run in runs),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

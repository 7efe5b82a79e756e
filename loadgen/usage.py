"""What this process has taken of the machine so far, as the kernel counts it."""

from __future__ import annotations

import time
from pathlib import Path

_STATUS = Path("/proc/self/status")
_KIB = 1024


def usage() -> dict[str, float]:
    """Return `peak_bytes`, the most memory that was ever resident, and `cpu_s` of this process."""
    return {"peak_bytes": float(peak_bytes()), "cpu_s": time.process_time()}


def peak_bytes() -> int:
    """Return the most memory of this process that was ever resident."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * _KIB
    raise AssertionError(f"{_STATUS} tells no peak of resident memory")

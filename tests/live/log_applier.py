"""An applier that writes each plan down as one line, for agents that a test kills."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from southbound.nca.plan import Plan
from southbound.resources import ResourceKey


class LogApplier:
    """Appends each plan to a file in one system call; `encode`: a plan's line, without its end."""

    def __init__(self, file: Path, encode: Callable[[Plan], bytes]) -> None:
        self._file = file
        self._encode = encode
        self._descriptor = -1

    def open(self) -> None:
        """Open the log."""
        self._descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def apply(self, plan: Plan) -> Mapping[ResourceKey, str]:
        """Append the plan."""
        os.write(self._descriptor, self._encode(plan) + b"\n")
        return {}

    def close(self) -> None:
        """Close the log."""
        os.close(self._descriptor)

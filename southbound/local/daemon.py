"""One detached server process, known by the folder that it runs in.

The rule: a process is signalled only after its id *and* its start mark have been compared with what
it wrote down itself, so a reused id is never hit, and a process is never looked for by name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from southbound.errors import EdgeError
from southbound.local import launch

_POLL_S = 0.02
_LAUNCH_TIMEOUT_S = 60.0
_KILL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """A server process; `directory` holds its pid file and what it wrote to its console."""

    name: str
    directory: Path

    @property
    def console(self) -> Path:
        """File with what the process printed itself, beside its own log."""
        return self.directory / "console.log"

    @property
    def _pid_file(self) -> Path:
        return self.directory / "pid"

    def pid(self) -> int | None:
        """Return the id of the running process, None when it does not run."""
        try:
            text, mark = self._pid_file.read_text().split()
            number = int(text)
        except FileNotFoundError:
            return None
        except ValueError:
            raise EdgeError(
                f"{self._pid_file} of {self.name} does not hold a process id", retryable=False
            ) from None
        return number if launch.start_mark(number) == mark else None

    def start(self, command: Sequence[str | Path]) -> None:
        """Start the command (its first word an absolute path), detached from this process.

        Returns once the new process has been written down and has become the command. Raises
        `EdgeError` when that fails.
        """
        assert self.pid() is None, f"{self.name} runs already"
        self.directory.mkdir(parents=True, exist_ok=True)
        # -I -S: nothing but the standard library, and no time spent on looking for more.
        starter = [sys.executable, "-I", "-S", launch.__file__]
        words = [*starter, self._pid_file.resolve(), self.console.resolve(), *command]
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LAUNCH_TIMEOUT_S,
        )
        if done.returncode != 0:
            # Its process has said why and is ending: nothing counts as running once this is raised.
            self._gone_within(_KILL_TIMEOUT_S)
            reason = done.stderr.strip() or f"exit status {done.returncode}"
            raise EdgeError(f"{self.name} could not be started: {reason}", retryable=False)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; False when the process does not run."""
        pid = self.pid()
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def stop(self, timeout_s: float) -> bool:
        """End the process politely, after `timeout_s` by force; False when it did not run."""
        if not self.signal(signal.SIGTERM):
            self._pid_file.unlink(missing_ok=True)
            return False
        # A stopped process hears nothing else.
        self.signal(signal.SIGCONT)
        if not self._gone_within(timeout_s):
            self.kill()
        self._pid_file.unlink(missing_ok=True)
        return True

    def kill(self) -> None:
        """End the process at once, as a crash would; returns when it is gone."""
        self.signal(signal.SIGKILL)
        if not self._gone_within(_KILL_TIMEOUT_S):
            raise EdgeError(f"{self.name} (process {self.pid()}) cannot be killed", retryable=True)

    def _gone_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def rss_bytes(self) -> int | None:
        """Return the resident memory of the process, None when it does not run."""
        pid = self.pid()
        if pid is None:
            return None
        try:
            return int(psutil.Process(pid).memory_info().rss)
        except psutil.Error:
            return None

    def last_words(self, log: Path, lines: int = 12) -> str:
        """Return the end of the log and of the console, for an error's message."""
        found: list[str] = []
        for file in (log, self.console):
            if file.is_file():
                found += file.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {line[:300]}" for line in found) or "    (it wrote nothing)"

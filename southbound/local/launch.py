"""Become a server that outlives its starter: run as a script, standard library only.

The rule: the process writes down who it is (id and start mark) *before* it turns into the server,
so a starter that dies at any moment leaves no server behind that a later command cannot find. It
leads a session of its own: Ctrl-C in the terminal does not reach it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

_PROC = Path("/proc")


def start_mark(pid: int) -> str | None:
    """Return what tells a process from a later one of the same id; None when it has ended.

    On Linux the boot's id and the ticks since boot, which no change of the clock moves; elsewhere
    the start time that `ps` prints. A zombie has ended.
    """
    if (_PROC / "self" / "stat").exists():
        return _linux_mark(pid)
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def _linux_mark(pid: int) -> str | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The command's name, in parentheses, may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    return f"{boot}:{fields[19]}"


def _become(pid_file: Path, console: Path, command: list[str]) -> None:
    """Detach, write the pid file and exec; returns never, raises `OSError` when exec fails."""
    os.setsid()
    os.chdir(pid_file.parent)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    fresh = pid_file.with_suffix(".new")
    fresh.write_text(f"{os.getpid()} {start_mark(os.getpid())}\n")
    fresh.replace(pid_file)
    # Python ignores SIGPIPE, and what is ignored stays so across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(command[0], command)


def main(arguments: list[str]) -> int:
    """Start `command` detached; `arguments` are the pid file, the console file, and the command."""
    pid_file, console, command = Path(arguments[0]), Path(arguments[1]), arguments[2:]
    # Closed by a successful exec, written to by a failed one.
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            _become(pid_file, console, command)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.write(writer, str(error).encode())
        os._exit(127)
    os.close(writer)
    trouble = os.read(reader, 4096).decode()
    if trouble:
        sys.stderr.write(trouble)
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

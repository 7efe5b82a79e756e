from __future__ import annotations

import os
import subprocess
import sys

from southbound.bench.process import cpu_s_of, memory_of, parse_smaps, threads_of

_SMAPS = """\
55d0c8a00000-7ffd1b7e1000 ---p 00000000 00:00 0                          [rollup]
Rss:               47412 kB
Pss:               33000 kB
Shared_Clean:      17000 kB
Shared_Dirty:          4 kB
Private_Clean:       400 kB
Private_Dirty:     30008 kB
"""


def test_memory_is_in_bytes() -> None:
    """Resident is everything; private is what no other process shares, clean or not."""
    assert parse_smaps(_SMAPS) == (47_412 << 10, 30_408 << 10)


def test_a_process_is_seen_from_outside() -> None:
    """This process has memory, and has computed."""
    pid = os.getpid()
    memory = memory_of(pid)
    assert memory.resident > memory.private > 0
    before_s = cpu_s_of(pid)
    assert sum(range(2_000_000)) > 0
    assert cpu_s_of(pid) > before_s


_THREADS = """
import threading
input()
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(flush=True)
input()
"""


def test_a_thread_more_is_seen_from_outside() -> None:
    """In a process in which no other thread comes or goes."""
    with subprocess.Popen(
        [sys.executable, "-c", _THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        count = threads_of(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"\n"
        assert threads_of(process.pid) == count + 1
        process.kill()

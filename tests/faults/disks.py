"""Small file systems, to be filled to their last byte.

The rule: a test that needs one says so and is skipped where nobody may mount it.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PIECES = (65_536, 512, 1)


class NoDisk(Exception):
    """No file system can be mounted here."""


@contextmanager
def small_disk(folder: Path, mib: int, *options: str) -> Iterator[None]:
    """Have a small file system at a folder. Raises `NoDisk` where nobody may mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ",".join((f"size={mib}m", *options))
    command = ["mount", "-t", "tmpfs", "-o", words, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        raise NoDisk
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill a file system to its last byte while the block runs."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in _PIECES:
            _fill(file.fileno(), size)
    try:
        yield
    finally:
        ballast.unlink()


def _fill(descriptor: int, size: int) -> None:
    try:
        while os.write(descriptor, b"x" * size):
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise

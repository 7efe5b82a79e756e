"""Machines for tests of workers: network namespaces where they are permitted, else mere folders.

The rule: a machine of a namespace has a loopback of its own and one wire to this one. Servers listen
on this machine's loopback, and are reached there under the same addresses through relays, so nothing
of the software knows where it runs. Whatever is made is removed again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOOPBACK = "127.0.0.1"
_RELAY = Path(__file__).parent / "relay.py"
_ROOT = Path(__file__).parents[2]


class Machine:
    """Where a process can be started. `prefix`: what makes it run there."""

    def __init__(self, name: str, folder: Path, prefix: Sequence[str] = ()) -> None:
        self.name = name
        self.folder = folder
        self._prefix = list(prefix)
        self._started: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a Python process in the machine's folder; its output goes to a file there."""
        output = (self.folder / f"output-{len(self._started)}").open("wb")
        with output:
            process = subprocess.Popen(
                [*self._prefix, sys.executable, *words],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
            )
        self._started.append(process)
        return process

    def output(self) -> str:
        """Return what its processes have written."""
        return "".join(file.read_text() for file in sorted(self.folder.glob("output-*")))

    def end(self) -> None:
        """End what was started here."""
        for process in self._started:
            if process.poll() is None:
                process.terminate()
        for process in self._started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def may_have_namespaces() -> bool:
    """Tell whether this process can make network namespaces: tried, not guessed."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"sbtry{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return False
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return True


@contextmanager
def machines(count: int, ports: Sequence[int], folder: Path) -> Iterator[list[Machine]]:
    """Make machines that reach these ports under the loopback address; end all that runs there."""
    with ExitStack() as stack:
        made = []
        for number in range(count):
            name = f"m{number}"
            if may_have_namespaces():
                machine = stack.enter_context(_namespace(name, number, ports, folder / name))
            else:
                machine = Machine(name, folder / name)
            stack.callback(machine.end)
            made.append(machine)
        yield made


@contextmanager
def _namespace(name: str, number: int, ports: Sequence[int], folder: Path) -> Iterator[Machine]:
    space = f"sb{os.getpid()}{name}"
    here, there = f"sbh{os.getpid()}{number}"[-15:], f"sbn{os.getpid()}{number}"[-15:]
    net = f"10.213.{(os.getpid() + number) % 250}"
    relays: list[subprocess.Popen[bytes]] = []
    _ip("netns", "add", space)
    try:
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", space)
        _ip("addr", "add", f"{net}.{4 * number + 1}/30", "dev", here)
        _ip("link", "set", here, "up")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "addr", "add", f"{net}.{4 * number + 2}/30", "dev", there)
        _ip("-n", space, "link", "set", there, "up")
        prefix = ["ip", "netns", "exec", space]
        relays.append(_relay([], f"{net}.{4 * number + 1}", LOOPBACK, ports))
        relays.append(_relay(prefix, LOOPBACK, f"{net}.{4 * number + 1}", ports))
        yield Machine(name, folder, prefix)
    finally:
        for relay in relays:
            relay.kill()
            relay.wait()
        # A namespace goes later than it is deleted, and until then its link's name is taken.
        subprocess.run(["ip", "link", "del", here], capture_output=True, check=False)
        _ip("netns", "del", space)


def _relay(
    prefix: list[str], listen: str, target: str, ports: Sequence[int]
) -> subprocess.Popen[bytes]:
    words = [*prefix, sys.executable, str(_RELAY), listen, target, *map(str, ports)]
    relay = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert relay.stdout is not None
    with relay.stdout as output:
        assert output.readline() == b"ready\n", "the relay listens"
    return relay


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)

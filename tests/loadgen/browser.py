"""A real browser without a window, told what to do over a pipe: no library, no port, no driver.

The rule: Chromium's own DevTools protocol (`--remote-debugging-pipe`: messages of JSON, each ended by
a null byte) is all that is between; the browser has an empty profile and ends with its test.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
_TIMEOUT_S = 120.0


def find_browser() -> str | None:
    """Return a browser of this machine, None when there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One page of the browser. `events`: everything that the browser has told of it so far."""

    def __init__(self, to: int, since: int) -> None:
        self._to, self._from = to, since
        self._left = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def open(self) -> None:
        """Make an empty page and listen to all that happens in it."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def go(self, url: str) -> None:
        """Load a page and wait until it, and all that it names, is there."""
        self.ask("Page.navigate", url=url)
        while not self.told("Page.loadEventFired"):
            self._read()

    def value(self, script: str) -> Any:
        """Return what a script comes to, as JSON."""
        found = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def told(self, method: str) -> list[dict[str, Any]]:
        """Return the events of one kind."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        """Return the next message; events are kept."""
        end_s = time.monotonic() + _TIMEOUT_S
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end_s - time.monotonic()))
            assert ready, f"the browser says nothing for {_TIMEOUT_S:g} s"
            piece = os.read(self._from, 1 << 20)
            assert piece, "the browser has ended"
            self._left += piece
        line, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message


@contextmanager
def browsing(program: str, profile: Path) -> Iterator[Page]:
    """Start a browser with an empty profile and one empty page; end it."""
    there_reads, here_writes = os.pipe()
    here_reads, there_writes = os.pipe()
    # The browser wants its pipes as 3 and 4.
    joined = f'exec "$@" 3<&{there_reads} 4>&{there_writes}'
    words = [program, *_OPTIONS, f"--user-data-dir={profile}"]
    with (profile.parent / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", joined, "browser", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(there_reads, there_writes),
        )
    os.close(there_reads)
    os.close(there_writes)
    try:
        page = Page(here_writes, here_reads)
        page.open()
        yield page
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(here_writes)
        os.close(here_reads)

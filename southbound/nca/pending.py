"""When an agent tries again what is not the core's to repeat.

The rule: every wait that follows a failure doubles up to a limit and is jittered, so that a million
agents which lost the same broker do not come back in the same instant.
"""

from __future__ import annotations

import random
import time

_ASKING_FIRST_S = 0.005
_ASKING_MAX_S = 0.1
_ASSIGN_FIRST_S = 0.25
_ASSIGN_MAX_S = 30.0


class Pending:
    """When to try again what is not the core's to repeat. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.assign_at_s: float | None = None
        self.assign_wait_s = _ASSIGN_FIRST_S
        self.probe_at_s = time.monotonic() + random.uniform(0.5, 1.5)
        self.ask_again_at_s: float | None = None
        self.asking = False
        self._ramp_s = _ASKING_FIRST_S

    def ask(self) -> None:
        """Note that the directory's answer is waited for."""
        self.asking = True
        self._ramp_s = _ASKING_FIRST_S

    def answered(self) -> None:
        """Note that it has come, or will come later."""
        self.asking = False

    def ramp_s(self) -> float:
        """Return a wait that grows with each call: an answer mostly comes at once, or not soon."""
        wait_s = self._ramp_s
        self._ramp_s = min(self._ramp_s * 2, _ASKING_MAX_S)
        return wait_s

    def assigned(self) -> None:
        """Note that everything wanted is assigned."""
        self.assign_wait_s = _ASSIGN_FIRST_S

    def assign_later(self, now_s: float) -> None:
        """Set the next attempt to assign, after a wait that doubles."""
        self.assign_at_s = now_s + random.uniform(self.assign_wait_s / 2, self.assign_wait_s)
        self.assign_wait_s = min(self.assign_wait_s * 2, _ASSIGN_MAX_S)

    def probe_soon(self, now_s: float) -> None:
        """Ask a cluster that seems to be away again before long."""
        self.probe_at_s = min(self.probe_at_s, now_s + random.uniform(1.0, 3.0))

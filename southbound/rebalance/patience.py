"""For how long a trouble that may pass is waited for."""

from __future__ import annotations

import time

_AGAIN_FIRST_S = 0.05
_AGAIN_MAX_S = 2.0


class Patience:
    """How long one round's troubles are waited for, with growing pauses."""

    def __init__(self, patience_s: float) -> None:
        self._deadline = time.monotonic() + patience_s
        self._pause_s = _AGAIN_FIRST_S

    @property
    def has_more(self) -> bool:
        """Whether it may be tried again."""
        return time.monotonic() < self._deadline

    def wait(self) -> None:
        """Wait a little, longer each time."""
        time.sleep(self._pause_s)
        self._pause_s = min(_AGAIN_MAX_S, 2 * self._pause_s)

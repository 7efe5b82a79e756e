"""Reading from a socket until a deadline, however slowly the other side sends.

The rule: whoever is spoken to decides how long that may take. A socket's own timeout begins anew with
each byte, so a peer that sends one now and then could hold a thread for ever.
"""

from __future__ import annotations

import io
import socket
import time
from typing import Any


class TimedReader(io.RawIOBase):
    """What a socket receives, for an `io.BufferedReader`. For one thread at a time.

    `begin` sets how long one silence and all reading from then on may last. Past either, reading
    raises `TimeoutError`.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._silence_s = 0.0
        self._deadline_s = 0.0

    def begin(self, silence_s: float, whole_s: float) -> None:
        """Begin to read something that must be there within `whole_s` seconds."""
        self._silence_s = silence_s
        self._deadline_s = time.monotonic() + whole_s

    def readable(self) -> bool:
        """Return True: that is what it is for."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive into a buffer; return how many bytes came, 0 at the end."""
        rest_s = self._deadline_s - time.monotonic()
        if rest_s <= 0:
            raise TimeoutError("timed out: the other side sends too slowly")
        self._connection.settimeout(min(self._silence_s, rest_s))
        return self._connection.recv_into(buffer)

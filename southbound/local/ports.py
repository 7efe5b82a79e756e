"""Free ports on the loopback address.

The rule: a port is chosen once, below the range that the system hands to outgoing connections.
Inside that range a client that retries a stopped server can be given the server's own port (and even
connect to itself), and the server could not come back.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

from southbound.errors import EdgeError

LOOPBACK = "127.0.0.1"
_LOWEST = 15_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A server would set it too: connections of a server just stopped do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def answers(port: int, timeout_s: float = 0.5) -> bool:
    """Tell whether something accepts connections on the port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Return that many different ports that nobody listens on; raises `EdgeError` when there are none."""
    low, high = _LOWEST, _outgoing_from() - 1
    # Of a seeded `random` two processes would get the same ports, and both take them to be free.
    first = random.SystemRandom().randint(low, high)
    found: list[int] = []
    for step in range(high - low + 1):
        if len(found) == count:
            return found
        port = low + (first - low + step) % (high - low + 1)
        if is_free(port):
            found.append(port)
    raise EdgeError(f"no {count} free ports between {low} and {high}", retryable=True)


def _outgoing_from() -> int:
    """Return the lowest port of outgoing connections (32768 where the system does not tell)."""
    try:
        lowest = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return lowest if lowest > _LOWEST + 1_000 else 32_768

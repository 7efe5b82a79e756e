"""When each change of an open loop is meant to be sent, and to whom. Pure.

The rule: what is sent, and when, follows from the schedule alone and never from how the last change
fared; a change that leaves late counts its lateness, as its users would.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_GOLDEN = (math.sqrt(5) - 1) / 2


class Schedule(NamedTuple):
    """`changes` changes to `hosts` hosts from `start_us` on (microseconds since 1970), `rate` a second."""

    start_us: int
    rate: float
    changes: int
    hosts: int

    def due_us(self, number: int) -> int:
        """Return when change `number` is meant to be sent."""
        return self.start_us + round(number * 1e6 / self.rate)

    def host(self, number: int) -> int:
        """Return whose change it is: every host once in each round, neighbours far apart."""
        return number * stride(self.hosts) % self.hosts

    def earlier_or_same(self, number: int) -> range:
        """Return the changes of the same host up to `number`, the latest first."""
        return range(number, -1, -self.hosts)


def stride(hosts: int) -> int:
    """Return a step that visits all of `hosts` before any twice, as evenly as may be."""
    step = max(1, round(hosts * _GOLDEN))
    while math.gcd(step, hosts) != 1:
        step += 1
    return step

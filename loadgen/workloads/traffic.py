"""Changes of single ports that go on while something else happens, spread over the whole fleet.

The rule: each port is changed once in a round, hosts take turns and neighbours stand far apart; a
port's revision rises by one with each round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from loadgen.workloads.fleet import Fleet
from loadgen.workloads.steps import SECOND_US, Step

_GOLDEN = (math.sqrt(5) - 1) / 2


def stride(count: int) -> int:
    """Return a step through 0..count-1 that visits each once, neighbours in time far apart."""
    step = max(1, int(count * _GOLDEN))
    while math.gcd(step, count) != 1:
        step += 1
    return step


def port_updates(
    fleet: Fleet, rate: float, seconds: float, revision: int, *, from_us: int = 0
) -> Iterator[Step]:
    """Yield changes of single ports, `rate` a second for so many seconds; none at a rate of 0.

    The first round has this `revision`.
    """
    step, vms = stride(fleet.hosts), fleet.shape.vms_per_host
    for number in range(int(rate * seconds)):
        turn, at = divmod(number, fleet.hosts)
        around, vm = divmod(turn, vms)
        changeset = fleet.host_changeset(
            at * step % fleet.hosts, revision + around, range(vm, vm + 1)
        )
        yield Step(from_us + round(number * SECOND_US / rate), changeset)

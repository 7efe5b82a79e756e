"""A planted bug: a piece of the system replaced for the length of a run.

The rule: a bug is planted from outside, in a world of its own; the product knows nothing of it. `seeds`
are those of schedules in which it can show: of its flavour, the first of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

from tests.simulation.flavours import flavour_of


class Patch(NamedTuple):
    """A piece of code, and what stands there instead."""

    target: Any
    name: str
    instead: Any


class Bug(NamedTuple):
    """One planted bug. `rule`: the section of the design, and what it says. `flavour`: of schedules.

    `stress`: faults without which it could not show. `known`: a seed that has found it; it is tried
    first.
    """

    rule: str
    flavour: str
    patches: tuple[Patch, ...]
    stress: tuple[str, ...] = ()
    known: int = 0

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """Plant it for a time."""
        with contextlib.ExitStack() as stack:
            for one in self.patches:
                stack.enter_context(mock.patch.object(one.target, one.name, one.instead))
            yield

    def seeds(self, count: int) -> Iterator[int]:
        """Yield the seed that is known, then the first ones of its flavour."""
        found, seed = 0, 0
        if self.flavour in {"", flavour_of(self.known)}:
            yield self.known
            found = 1
        while found < count:
            if self.flavour in {"", flavour_of(seed)}:
                found += 1
                yield seed
            seed += 1


def bug(
    rule: str, flavour: str, *patches: tuple[Any, str, Any], stress: tuple[str, ...] = ()
) -> Bug:
    """Return a bug of these patches: what, the name in it, and what stands there instead."""
    return Bug(rule, flavour, tuple(Patch(*one) for one in patches), stress)

"""One slot while it is being looked at: how far it was read, and what it says. Knows no client.

The rule: a slot is *glanced* at from where it was left, and *looked* at as a whole when that raises a
doubt, when time makes something due, or when it was not for long. Only a whole look repairs. The
position that is remembered stays before the first record of a changeset that may still be completed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from southbound.errors import WireError
from southbound.janitor.books import Odd, SlotState
from southbound.janitor.digest import Digest
from southbound.janitor.facts import SlotFacts
from southbound.janitor.judging import Abandoned, Judgement, Rules, departures_us, judge
from southbound.janitor.standing import Standing, Whereabouts
from southbound.partitioning.placement import Address
from southbound.rebalance.copying import Record
from southbound.resources import Scope

_STEP_MIN = 200
_STEP_MAX = 50_000

StandingOf = Callable[[Scope, Address], Standing]


class SlotWork:
    """One slot at work. `end` is where it ended when that was asked last."""

    def __init__(self, address: Address, state: SlotState | None, end: int) -> None:
        self.address = address
        self.state = state
        self.end = end
        self.whole = state is None
        self.read_to = 0 if state is None else state.position
        self.facts: SlotFacts
        self.is_mended = False
        """Whether something was appended to it: then where scopes stand is asked once more."""
        self._since = self.read_to
        self._standings: dict[Scope, Standing] = {}
        self._step = _STEP_MIN

    def begin(self, standing_of: StandingOf, *, whole: bool) -> None:
        """Begin to read, as a whole or from where it was left."""
        self.whole = whole
        self.read_to = 0 if whole else self._since
        self._standings = {}

        def noted(scope: Scope) -> Standing:
            standing = self._standings[scope] = standing_of(scope, self.address)
            return standing

        self.facts = SlotFacts(noted)

    def is_current(self, standing_of: StandingOf) -> bool:
        """Tell whether every scope that was met still stands as it did then."""
        return all(standing_of(scope, self.address) == it for scope, it in self._standings.items())

    @property
    def is_all_here(self) -> bool:
        """Whether every scope that was met is here: of others an old journal may say wrong things."""
        standings = self._standings.values()
        return all(one.whereabouts is Whereabouts.HERE for one in standings)

    @property
    def weight(self) -> int:
        """How many keys or records it will bring into memory, at most or about."""
        if not self.whole or self.state is None:
            return self.end - self.read_to
        return min(self.end, len(self.state.digest) // 16 + self.end - self.state.position)

    def span(self, share: int) -> tuple[int, int] | None:
        """Return the next part to read; None at the end. Where records are thin it grows."""
        if self.read_to >= self.end:
            return None
        step = max(self._step, min(share, _STEP_MAX))
        return self.read_to, min(self.read_to + step, self.end)

    def take(self, records: Sequence[Record], until: int) -> None:
        """Take what a part held."""
        self.facts.take(records)
        is_thin = len(records) * 4 < until - self.read_to
        self._step = (until - self.read_to) * 4 if is_thin else _STEP_MIN
        self.read_to = until

    def judge(self, rules: Rules, now_us: int) -> Judgement:
        """Judge what was read."""
        return judge(self.facts, rules, now_us)

    def is_doubtful(self, judgement: Judgement) -> bool:
        """Tell whether a glance is not enough."""
        return bool(judgement.repairs) or self._digest().doubts(self.facts)

    def abandoned(self, judgement: Judgement) -> Iterator[Abandoned]:
        """Yield the changesets that were found abandoned and not told of before."""
        return (one for one in judgement.abandoned if one.first >= self._since)

    def state_after(self, judgement: Judgement, rules: Rules, now_us: int) -> SlotState:
        """Return what is to be remembered, once nothing is left to repair."""
        position = self.end if judgement.hold is None else min(self.end, judgement.hold)
        if self.whole or self.state is None:
            digest = Digest()
            digest.take(self.facts)
            odd = Odd(judgement.unreadable, judgement.strays, judgement.unknown)
            return SlotState(position, now_us, judgement.due_us, digest.encode(), odd)
        digest = self._digest()
        digest.take(self.facts)
        due_us = min(self.state.due_us, judgement.due_us, departures_us(self.facts, rules))
        return self.state._replace(position=position, due_us=due_us, digest=digest.encode())

    def _digest(self) -> Digest:
        try:
            return Digest(self.state.digest if self.state is not None else b"")
        except WireError:
            return Digest()


def batches(work: Iterable[SlotWork], weight_max: int, slots_max: int) -> Iterator[list[SlotWork]]:
    """Cut slots into batches of a bounded weight; one that is heavier goes alone."""
    batch: list[SlotWork] = []
    weight = 0
    for one in work:
        # What was never looked at may hold much less than its offsets say; it is taken as a share.
        own = min(one.weight, weight_max // 8) if one.state is None else one.weight
        if batch and (weight + own > weight_max or len(batch) >= slots_max):
            yield batch
            batch, weight = [], 0
        batch.append(one)
        weight += own
    if batch:
        yield batch

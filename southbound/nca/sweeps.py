"""Which scopes the applier is still to be told as a whole, so that what is left over goes. Pure.

The rule: a scope counts as swept, and the node as rid of every other scope, only when the applier has
done something of the plan that said so. One that raised, or refused every single change, has most
likely not come to it: it is told again, and again after growing waits.
"""

from __future__ import annotations

from southbound.nca.plan import Plan
from southbound.nca.retries import Retries
from southbound.resources import Scope


class Sweeps:
    """What was refused, and when it may be said again. Both times bound the wait, in seconds.

    `alone`: the applier knows which scopes there are, and that there are no others.
    """

    def __init__(self, first_s: float, max_s: float, *, alone: bool) -> None:
        self.alone = alone
        self._retries: Retries[Scope | None] = Retries(first_s, max_s)
        self._resting: set[Scope | None] = set()

    def may_tell(self, scope: Scope | None) -> bool:
        """Tell whether a scope may be named complete now; None: whether the only ones may be named."""
        return scope not in self._resting

    def answered(self, plan: Plan, *, is_done: bool, now_s: float) -> tuple[Scope, ...]:
        """Take the applier's answer; return the scopes that are swept by it."""
        said: list[Scope | None] = [*plan.complete]
        if plan.only is not None:
            said.append(None)
            self.alone = is_done
        for what in said:
            if is_done:
                self._retries.done(what)
            else:
                self._retries.failed(what, now_s)
                self._resting.add(what)
        return plan.complete if is_done else ()

    def tick(self, now_s: float) -> None:
        """Let what has waited long enough be said again."""
        for what in self._retries.due(now_s):
            self._retries.waits(what)
            self._resting.discard(what)

    def deadline_s(self) -> float | None:
        """Return when `tick` will have something to do."""
        return self._retries.deadline_s()

"""Which VPCs an agent follows, and why: the VPCs of the ports that it holds. Pure.

The rule: the first port of a VPC begins the interest; the last one's leaving ends it only after a
grace period, so that a port that comes back costs nothing.
"""

from __future__ import annotations

from southbound.resources import ResourceKey


class Interest:
    """VPCs by the ports that name them. `grace_s` is how long a VPC without ports is kept.

    `changed` tells that a VPC has been added; whoever looks for it resets this.
    """

    def __init__(self, grace_s: float) -> None:
        self.changed = False
        self._grace_s = grace_s
        self._vpc_of: dict[ResourceKey, str] = {}
        self._ports: dict[str, set[ResourceKey]] = {}
        self._leaving: dict[str, float] = {}

    def note(self, port: ResourceKey, vpc: str | None, now_s: float) -> None:
        """Note that a port is now in `vpc`, or in none (it is gone)."""
        before = self._vpc_of.get(port)
        if before == vpc:
            return
        if before is not None:
            del self._vpc_of[port]
            self._ports[before].discard(port)
            if not self._ports[before]:
                del self._ports[before]
                self._leaving[before] = now_s + self._grace_s
        if vpc is not None:
            self._vpc_of[port] = vpc
            self.changed |= vpc not in self._ports
            self._ports.setdefault(vpc, set()).add(port)
            self._leaving.pop(vpc, None)

    def keep(self, vpc: str, now_s: float) -> None:
        """Give a VPC that is followed without a port (after a restart) its grace period."""
        if vpc not in self._ports:
            self._leaving.setdefault(vpc, now_s + self._grace_s)

    def wanted(self) -> list[str]:
        """Return the VPCs that are to be followed: with ports, or within their grace period."""
        return [*self._ports, *self._leaving]

    def expired(self, now_s: float) -> list[str]:
        """Return, and no longer want, the VPCs whose grace period is over."""
        over = [vpc for vpc, until_s in self._leaving.items() if until_s <= now_s]
        for vpc in over:
            del self._leaving[vpc]
        return over

    def deadline_s(self) -> float | None:
        """Return when the next grace period ends."""
        return min(self._leaving.values(), default=None)

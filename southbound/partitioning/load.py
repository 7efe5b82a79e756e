"""How full slots are, in the few numbers that a person compares. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from southbound.partitioning.plan import Load, PoolChange
from southbound.partitioning.topology import Topology


def load_of(counts: Sequence[float]) -> Load:
    """Return the load of slots that hold so many each. Quantiles: the value at that rank."""
    ranked = sorted(map(float, counts))
    return Load(
        held=sum(ranked),
        mean=sum(ranked) / max(1, len(ranked)),
        p50=_at(ranked, 0.50),
        p99=_at(ranked, 0.99),
        max=ranked[-1] if ranked else 0.0,
    )


def _at(ranked: Sequence[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def pool_changes(
    topology: Topology,
    counts: tuple[Mapping[str, Sequence[int]], Mapping[str, Sequence[int]]],
    traffic: tuple[Mapping[str, Sequence[float]], Mapping[str, Sequence[float]]] | None = None,
) -> tuple[PoolChange, ...]:
    """Return each pool's load before and after, from what each slot holds (and carries) then."""
    return tuple(
        PoolChange(
            cluster=pool.cluster,
            pool=pool.id,
            cls=pool.cls,
            slots=pool.slots,
            before=load_of(counts[0][pool.id]),
            after=load_of(counts[1][pool.id]),
            traffic_before=load_of(traffic[0][pool.id]) if traffic else None,
            traffic_after=load_of(traffic[1][pool.id]) if traffic else None,
        )
        for pool in sorted(topology.pools, key=lambda pool: (pool.cluster, pool.cls, pool.id))
    )

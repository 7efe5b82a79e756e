"""How many ports each VPC has: a heavy tail, laid out by rank.

The rule: sizes are quantiles of the distribution, not draws from it. Every fleet of one shape has the
same profile at every scale, the largest VPCs are there for certain, and a table of the distinct sizes
(some thousands at twenty million ports) answers for all VPCs. Sources and assumptions:
docs/workloads.md.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass

from southbound.errors import ConfigError, Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class VpcSizes:
    """A truncated Pareto law: the share of VPCs with at least k ports is `scale * k ** -tail`.

    At most 1, at k <= `smallest` always 1, and nothing above `largest`: whoever would be larger has
    `largest` ports. The defaults give 40 % of VPCs one port and 80 % at most five.
    """

    tail: float = 1.0
    scale: float = 1.2
    smallest: int = 1
    largest: int = 100_000

    def __post_init__(self) -> None:
        faults = [
            Fault(f"sizes.{name}", value, problem)
            for name, value, good, problem in (
                ("tail", self.tail, self.tail > 0, "must be above 0"),
                ("scale", self.scale, self.scale > 0, "must be above 0"),
                ("smallest", self.smallest, self.smallest >= 1, "must be at least 1"),
                (
                    "largest",
                    self.largest,
                    self.largest >= self.smallest,
                    "must not be below smallest",
                ),
            )
            if not good
        ]
        if faults:
            raise ConfigError("no such sizes of VPCs", faults)

    def share(self, ports: int) -> float:
        """Return the share of VPCs that have at least so many ports."""
        if ports <= self.smallest:
            return 1.0
        return min(1.0, self.scale * ports**-self.tail) if ports <= self.largest else 0.0

    def at(self, share: float) -> int:
        """Return the most ports that at least this share of VPCs has; 0 < share <= 1."""
        ports = int((self.scale / share) ** (1 / self.tail))
        return min(self.largest, max(self.smallest, ports))


class SizeTable:
    """Sizes of the VPCs that share `ports` ports, largest first; their sizes sum to exactly that.

    A VPC is its rank here, and its ports are a run of positions 0 <= position < ports.
    """

    __slots__ = ("_positions", "_ranks", "_sizes", "count", "ports")

    def __init__(self, sizes: VpcSizes, ports: int) -> None:
        self.ports = ports
        runs = _fitted(sizes, ports)
        self.count = sum(count for _, count in runs)
        # For each run of VPCs of one size: its size, and the first rank and position in it.
        self._sizes = array("q", [size for size, _ in runs])
        self._ranks = array("q")
        self._positions = array("q")
        rank = position = 0
        for size, count in runs:
            self._ranks.append(rank)
            self._positions.append(position)
            rank += count
            position += size * count

    def size(self, rank: int) -> int:
        """Return the ports of the VPC of this rank."""
        return self._sizes[bisect_right(self._ranks, rank) - 1]

    def first(self, rank: int) -> int:
        """Return the position of its first port."""
        run = bisect_right(self._ranks, rank) - 1
        return self._positions[run] + (rank - self._ranks[run]) * self._sizes[run]

    def find(self, position: int) -> tuple[int, int]:
        """Return whose port stands at a position: the VPC's rank, and which of its ports it is."""
        run = bisect_right(self._positions, position) - 1
        whole, ordinal = divmod(position - self._positions[run], self._sizes[run])
        return self._ranks[run] + whole, ordinal

    def nearest(self, ports: int) -> int:
        """Return the first rank of those whose size is nearest to `ports`, the larger where two are."""
        run = min(range(len(self._sizes)), key=lambda run: (abs(self._sizes[run] - ports), run))
        return self._ranks[run]


def _runs(sizes: VpcSizes, vpcs: int) -> list[tuple[int, int]]:
    """Return (size, how many VPCs have it) for so many VPCs, largest first.

    The VPC of rank r stands for the share (r + 1/2) / vpcs of the distribution.
    """
    runs: list[tuple[int, int]] = []
    rank = 0
    while rank < vpcs:
        size = sizes.at((rank + 0.5) / vpcs)
        # All ranks whose share is not above the share of VPCs with at least this size.
        end = vpcs if size == sizes.smallest else int(sizes.share(size) * vpcs + 0.5)
        end = min(vpcs, max(rank + 1, end))
        runs.append((size, end - rank))
        rank = end
    return runs


def _ports_of(runs: list[tuple[int, int]]) -> int:
    return sum(size * count for size, count in runs)


def _fitted(sizes: VpcSizes, ports: int) -> list[tuple[int, int]]:
    """Return the runs of as many VPCs as fit into `ports`; what is left over is one more VPC."""
    low, high = 0, ports // sizes.smallest + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _ports_of(_runs(sizes, middle)) <= ports:
            low = middle
        else:
            high = middle
    runs = _runs(sizes, low)
    left = ports - _ports_of(runs)
    if left:
        at = next((at for at, (size, _) in enumerate(runs) if size < left), len(runs))
        runs.insert(at, (left, 1))
    return runs

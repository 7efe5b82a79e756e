"""What is told of tries to connect: how many at once, and how far apart. Pure.

The rule: a try is counted when it was made, whether it was taken or refused. Times are monotonic
seconds, which are the same in every process of a machine.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec


class Try(msgspec.Struct, frozen=True, array_like=True):
    """One: when it was made, by whom, and whether it was refused."""

    at_s: float
    name: str
    refused: bool


def peak(times_s: Iterable[float], width_s: float) -> int:
    """Return how many came in the fullest stretch of this width, wherever it begins."""
    ordered = sorted(times_s)
    most = begin = 0
    for end, at_s in enumerate(ordered):
        while at_s - ordered[begin] >= width_s:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def quantile(values: Iterable[float], share: float) -> float:
    """Return the least value that this share of them does not exceed; 0.0 of none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else 0.0


def spread_s(times_s: Sequence[float]) -> float:
    """Return how far apart the first and the last are, the outermost twentieths left out."""
    return quantile(times_s, 0.95) - quantile(times_s, 0.05)


def firsts(tries: Iterable[Try]) -> Mapping[str, float]:
    """Return the time of the first try of each."""
    found: dict[str, float] = {}
    for one in tries:
        found[one.name] = min(one.at_s, found.get(one.name, math.inf))
    return found


def intervals_s(tries: Iterable[Try]) -> list[float]:
    """Return the times between tries of the same one."""
    return [
        later.at_s - earlier.at_s
        for made in by_name(tries).values()
        for earlier, later in pairwise(made)
    ]


def by_name(tries: Iterable[Try]) -> Mapping[str, list[Try]]:
    """Return the tries of each, in order."""
    found: defaultdict[str, list[Try]] = defaultdict(list)
    for one in sorted(tries, key=lambda one: one.at_s):
        found[one.name].append(one)
    return found

"""A seeded bijection between positions and places: how VPCs are spread over hosts.

The rule: both directions cost a few multiplications, without a table, so a worker that simulates some
hosts never builds the others. Positions first stride through all columns (a VPC's neighbours in
position end far apart), then each column permutes the hosts by a multiplier and an offset of its own,
so which VPCs meet on one host differs from column to column.
"""

from __future__ import annotations

import math
import random

_GOLDEN = (math.sqrt(5) - 1) / 2


def _coprime(near: int, modulus: int) -> int:
    """Return the first number from `near` on that has no factor in common with `modulus`."""
    number = max(1, near)
    while math.gcd(number, modulus) != 1:
        number += 1
    return number


class Spread:
    """Maps positions 0 <= p < hosts * columns to (host, column), one to one."""

    __slots__ = ("_back", "_columns", "_hosts", "_offset", "_size", "_stride")

    def __init__(self, hosts: int, columns: int, seed: int) -> None:
        # Only `random()` itself is promised to give the same numbers in every version of Python.
        draw = random.Random(seed).random
        self._hosts = hosts
        self._size = size = hosts * columns
        self._offset = int(draw() * size)
        # No fraction is further from all simple ones: nowhere does a run come back to its columns early.
        self._stride = _coprime(int(size * _GOLDEN), size)
        self._back = pow(self._stride, -1, size)
        self._columns: list[tuple[int, int, int]] = []
        for _ in range(columns):
            factor = _coprime(int(draw() * hosts), hosts)
            self._columns.append((factor, pow(factor, -1, hosts), int(draw() * hosts)))

    def place(self, position: int) -> tuple[int, int]:
        """Return the host and the column of a position."""
        column, row = divmod((self._stride * position + self._offset) % self._size, self._hosts)
        factor, _, offset = self._columns[column]
        return (factor * row + offset) % self._hosts, column

    def position(self, host: int, column: int) -> int:
        """Return the position that stands in a column of a host."""
        _, back, offset = self._columns[column]
        row = back * (host - offset) % self._hosts
        return self._back * (column * self._hosts + row - self._offset) % self._size

"""Arithmetic written down as text, so that a formula that is shown is the one that was computed. Pure.

The rule: an expression is Python's arithmetic over names and numbers (`+ - * / **`, `ceil`, `floor`,
`max`, `min`, `log`), read once by Python's own parser and computed here; anything else in it is a
programmer's mistake.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Final

_OPERATORS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_CALLS: Final[Mapping[str, Callable[..., float]]] = {
    "ceil": math.ceil,
    "floor": math.floor,
    "max": max,
    "min": min,
    "log": math.log,
}


_Computed = Callable[[Mapping[str, float]], float]


class Expression:
    """One formula. `names`: what it needs, as they are read."""

    def __init__(self, text: str) -> None:
        self.text = text
        tree = ast.parse(text, mode="eval").body
        self.names = tuple(dict.fromkeys(_names(tree)))
        self._compute = _computed(tree)

    def __call__(self, values: Mapping[str, float]) -> float:
        """Compute it. A name that has no value is a `KeyError`."""
        return float(self._compute(values))


def _names(node: ast.AST) -> Iterator[str]:
    """Return the names of values, as they are read from left to right."""
    if isinstance(node, ast.Name) and node.id not in _CALLS:
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _names(child)


def _computed(node: ast.expr) -> _Computed:
    match node:
        case ast.Constant(value=int() | float() as number):
            return lambda _values: number
        case ast.Name(id=name):
            return operator.itemgetter(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            combine, one, other = _OPERATORS[type(op)], _computed(left), _computed(right)
            return lambda values: combine(one(values), other(values))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            negated = _computed(operand)
            return lambda values: -negated(values)
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _CALLS:
            call, given = _CALLS[name], [_computed(one) for one in arguments]
            return lambda values: call(*(one(values) for one in given))
    raise AssertionError(f"no arithmetic: {ast.unparse(node)}")

from __future__ import annotations

import pytest

from loadgen.capacity.costs import COSTS
from loadgen.capacity.demand import Aims, Ceilings, Demand, named
from loadgen.capacity.expression import Expression
from loadgen.capacity.formulas import FORMULAS, evaluate


def test_arithmetic_is_that_of_python() -> None:
    """Operators, their order, and the few functions."""
    found = Expression("max(1, ceil(a / b)) * -(2 ** b - a) + floor(log(1))")
    assert found({"a": 7.0, "b": 2.0}) == 4 * -(2**2 - 7)
    assert found.names == ("a", "b")


@pytest.mark.parametrize("text", ["open('x')", "a.b", "[1]", "'text'", "a if b else c", "a < b"])
def test_nothing_but_arithmetic_is_computed(text: str) -> None:
    """A formula cannot call, look up or compare anything."""
    with pytest.raises(AssertionError, match="no arithmetic"):
        Expression(text)


def test_each_formula_uses_only_what_stands_above_it() -> None:
    """Inputs, unit costs and earlier quantities: a plan is read from its top."""
    known = {*named(Demand(), Aims(), Ceilings()), *COSTS, "brokers"} - {"restart_s"}
    for formula in FORMULAS:
        assert set(formula.expression.names) <= known, formula.name
        assert formula.name not in known
        known.add(formula.name)


def test_every_unit_cost_is_used_or_belongs_to_the_comparison() -> None:
    """Nothing is measured for nobody."""
    used = {name for formula in FORMULAS for name in formula.expression.names}
    assert set(COSTS) - used == {"restart_agent_us"}


def test_what_is_given_is_taken_as_it_is() -> None:
    """A plan that is kept is not computed anew."""
    values = {**named(Demand(), Aims(), Ceilings()), **dict.fromkeys(COSTS, 1.0), "brokers": 3.0}
    del values["restart_s"]
    found = {one.name: one for one in evaluate({**values, "clusters": 7.0})}
    assert found["clusters"].value == 7.0
    assert found["host_slots"].value == found["host_topics"].value * 50
    assert found["redis_memory"].costs == (
        "redis_base_bytes",
        "redis_host_bytes",
        "redis_vpc_bytes",
    )

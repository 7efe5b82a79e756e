from __future__ import annotations

from collections.abc import Callable

import msgspec
from typer.testing import Result

Run = Callable[..., Result]


def test_the_plan_is_told_with_its_limits_and_provenance(run: Run) -> None:
    """A person sees the shape, what it takes, where it breaks, and whose numbers these are."""
    printed = run("plan-capacity").output
    assert "10 clusters x 200 topics x 50 partitions x 10 hosts" in printed
    assert "Where it breaks: at 1," in printed
    assert "southbound bench units" in printed
    assert "formula" not in printed


def test_each_number_is_explained(run: Run) -> None:
    """Its formula, and the unit costs in it."""
    printed = run("plan-capacity", "--explain").output
    assert "redis_memory = redis_base_bytes + hosts * redis_host_bytes" in printed
    assert "    redis_host_bytes = " in printed


def test_a_program_gets_one_document(run: Run) -> None:
    """All inputs, quantities with formulas, limits and unit costs."""
    result = run("--output", "json", "plan-capacity", "--hosts", "100000", "--azs", "1")
    found = msgspec.json.decode(result.stdout)
    assert found["plan"] == "1 clusters x 200 topics x 50 partitions x 10 hosts"
    assert found["inputs"]["demand"]["hosts"] == 100_000
    assert all(one["formula"] for one in found["quantities"])
    assert found["breaks"]["hosts"] > 100_000
    assert found["units"]["provenance"]["at"]


def test_any_input_can_be_set(run: Run) -> None:
    """By the name under which it is listed."""
    result = run(
        "--output", "json", "plan-capacity", "--set", "broker-cores=16", "--replication", "2"
    )
    found = msgspec.json.decode(result.stdout)
    assert found["inputs"]["ceilings"]["broker_cores"] == 16
    assert found["inputs"]["aims"]["replication"] == 2


def test_an_input_that_is_none_is_named(run: Run) -> None:
    """With what there is."""
    for words, said in (
        (("--set", "cores=16"), "broker_cores"),
        (("--set", "hosts=many"), "NAME=NUMBER"),
        (("--hosts", "0"), "hosts"),
    ):
        result = run("plan-capacity", *words)
        assert result.exit_code == 2
        assert said in result.output

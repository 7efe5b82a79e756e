from __future__ import annotations

from southbound.nca.retries import Retries


def test_the_wait_doubles_up_to_a_limit() -> None:
    """Each failure in a row waits longer; none longer than the limit."""
    retries: Retries[str] = Retries(1.0, 5.0)
    waits = []
    now_s = 0.0
    for _ in range(5):
        retries.failed("a", now_s)
        at_s = retries.deadline_s()
        assert at_s is not None
        waits.append(at_s - now_s)
        assert retries.due(at_s - 0.01) == []
        assert retries.due(at_s) == ["a"]
        now_s = at_s
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_success_forgets() -> None:
    """The next failure begins with the first wait again."""
    retries: Retries[str] = Retries(1.0, 5.0)
    retries.failed("a", 0.0)
    retries.failed("a", 0.0)
    retries.done("a")
    assert (len(retries), retries.deadline_s()) == (0, None)
    retries.failed("a", 0.0)
    assert retries.deadline_s() == 1.0


def test_what_is_being_tried_is_not_due_meanwhile() -> None:
    """Until its answer comes; its failures are not forgotten."""
    retries: Retries[str] = Retries(1.0, 5.0)
    retries.failed("a", 0.0)
    retries.waits("a")
    retries.waits("unknown")
    assert (retries.due(1e9), retries.deadline_s()) == ([], None)
    assert "a" in retries
    assert list(retries) == ["a"]
    retries.failed("a", 10.0)
    assert retries.deadline_s() == 12.0

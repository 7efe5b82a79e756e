"""Receipts: settled once, with what is known."""

from __future__ import annotations

import asyncio
import threading

import pytest

from southbound.errors import EdgeError, OutcomeUnknown, SouthboundError
from southbound.producer.core import Parcel
from southbound.producer.receipts import Accepted, Receipt, Receipts, settle
from southbound.resources import host_scope

LOCK = threading.Lock()


def _receipt(parts: int = 1, name: str = "set") -> Receipt:
    parcels = [Parcel(host_scope(f"h{number}"), name, (), 0) for number in range(parts)]
    return Receipt(name, parcels, LOCK)


def _settle(receipt: Receipt, error: SouthboundError | None = None, part: int = 0) -> None:
    parcel = receipt.parcels[part]
    parcel.accept() if error is None else parcel.fail(error)
    settle([parcel], LOCK)


@pytest.mark.parametrize("asked_first", [True, False])
def test_accepted_when_all_parts_are(asked_first: bool) -> None:  # a parameter
    """The future is the same whether it was asked for before or after."""
    receipt = _receipt(2)
    receipt.parcels[1].resends = 3
    future = receipt.accepted if asked_first else None
    _settle(receipt)
    assert not receipt.settled
    _settle(receipt, part=1)
    assert receipt.accepted.result(0) == Accepted("set", resent=3)
    assert future is None or future is receipt.accepted


def test_an_unknown_outcome_outweighs_a_failure() -> None:
    """Whoever retries must know that something may be in the log."""
    receipt = _receipt(2)
    _settle(receipt, EdgeError("refused", retryable=False))
    _settle(receipt, OutcomeUnknown("no answer"), part=1)
    with pytest.raises(OutcomeUnknown):
        receipt.accepted.result(0)


def test_receipts_can_be_awaited() -> None:
    """A coroutine waits without blocking its loop."""
    receipt = _receipt()

    async def wait() -> Accepted:
        asyncio.get_running_loop().call_soon(_settle, receipt)
        return await receipt.wait_accepted()

    assert asyncio.run(wait()) == Accepted("set")


def test_applied_needs_tracking() -> None:
    """Asking for what nobody follows is an error that says how to have it."""
    with pytest.raises(SouthboundError, match="track=True"):
        _ = _receipt().applied


def test_many_settle_together() -> None:
    """The future of many waits for all of them and names the failure."""
    names = [f"s{number}" for number in range(3)]
    many = Receipts(names, [(Parcel(host_scope("h"), name, (), 0),) for name in names], LOCK)
    _settle(many[0])
    _settle(many[1], EdgeError("refused", retryable=False))
    assert many.settled == 2
    assert not many.accepted.done()
    _settle(many[2])
    with pytest.raises(EdgeError, match="refused"):
        many.accepted.result(0)
    assert [one.changeset for one in many.failures()] == ["s1"]
    assert Receipts([], [], LOCK).accepted.result(0) == 0

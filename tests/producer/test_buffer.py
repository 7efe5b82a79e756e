"""The bounded buffer: waits, refuses, closes."""

from __future__ import annotations

import threading

import pytest

from southbound.errors import BufferFull, Closed
from southbound.producer.buffer import Buffer


def test_a_full_buffer_refuses_at_once_when_told() -> None:
    """With no wait there is an error that says how full it is, and nothing is taken."""
    buffer = Buffer(10, 0)
    buffer.take(8)
    with pytest.raises(BufferFull, match="8 of 10"):
        buffer.take(3)
    assert buffer.used == 8
    buffer.take(2)


def test_a_waiting_caller_gets_the_room_that_comes_free() -> None:
    """Giving room back wakes who waits for it."""
    buffer = Buffer(10, 30)
    buffer.take(10)
    threading.Timer(0.02, buffer.give, [10]).start()
    buffer.take(10)
    assert buffer.used == 10


def test_a_changeset_larger_than_the_buffer_gets_in_alone() -> None:
    """Otherwise it could never be published."""
    buffer = Buffer(10, 0)
    buffer.take(50)
    with pytest.raises(BufferFull):
        buffer.take(1)
    buffer.give(50)
    assert buffer.wait_empty(0)


def test_a_closed_buffer_lets_nobody_in() -> None:
    """Also not those who already wait."""
    buffer = Buffer(10, 30)
    buffer.take(10)
    threading.Timer(0.02, buffer.close).start()
    with pytest.raises(Closed):
        buffer.take(1)

"""What leader and workers tell each other, read back; anybody may have written into their Redis."""

from __future__ import annotations

import pytest

from loadgen.coordination.messages import Answer, Beat, Card, Order, pack, unpack
from southbound.errors import WireError


@pytest.mark.parametrize(
    "message",
    [
        Card(worker="w", machine="m", pid=1, cores=2, version="0"),
        Beat("r", "fills"),
        Order("r", 1, "fill", ("a", 1)),
        Answer(1, "w", {"a": 1}),
    ],
)
def test_what_is_packed_is_read(message: Card | Beat | Order | Answer) -> None:
    """Each kind."""
    assert unpack(pack(message), type(message)) == message


@pytest.mark.parametrize("kind", [Card, Beat, Order, Answer])
@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\x91\x01", b"\x81\xa1a" * 9_000, b"\x81\xa3run\xa1\xff"]
)
def test_what_is_no_message_is_a_wire_error(kind: type, data: bytes) -> None:
    """Text that is none and nesting without end as well."""
    with pytest.raises(WireError, match="no"):
        unpack(data, kind)

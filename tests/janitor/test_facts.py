"""What a slot's records amount to, whatever stands in their keys."""

from __future__ import annotations

import pytest

from southbound.janitor.facts import SlotFacts
from tests.janitor.log import HERE, Log, key


@pytest.mark.parametrize("kind", ["!seal", "!handover"])
@pytest.mark.parametrize("id", ["9" * 5_000, "9" * 20, "²", "", "-1", "1\x1f2", "é"])
def test_a_control_record_of_no_epoch_is_left_alone(kind: str, id: str) -> None:
    """The records around it are taken."""
    log = Log()
    log.put("a", 3)
    log.append(f"v\x1fblue\x1f{kind}\x1f{id}".encode(), b"\x01\x92\x01\x01")
    log.put("b", 4)
    facts = SlotFacts(lambda _: HERE)
    facts.take(log.records)
    (found,) = facts.scopes()
    assert {key("a"), key("b")} <= found.keys.keys()
    assert found.seals == {}
    assert found.markers == {}

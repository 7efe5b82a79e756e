from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.errors import WireError
from southbound.janitor.digest import Digest
from southbound.janitor.standing import UNKNOWN
from tests.janitor.log import AWAY, BLUE, Log


def test_a_lower_revision_raises_a_doubt() -> None:
    """The highest of before, and of the window itself."""
    log = Log()
    log.put("a", 6)
    log.put("b", 1)
    digest = Digest()
    digest.take(log.facts())
    assert len(digest) == 2
    window = log.end
    log.put("a", 6)
    log.put("b", 2)
    log.put("c", 1)
    assert not digest.doubts(log.facts(window))
    log.put("a", 5)
    assert digest.doubts(log.facts(window))


@pytest.mark.parametrize("standing", [UNKNOWN, AWAY])
def test_only_what_is_here_counts(standing: object) -> None:
    """Nothing is repeated of the others, so nothing can be in doubt."""
    log = Log({BLUE: standing})  # type: ignore[dict-item]
    log.put("a", 6)
    digest = Digest()
    digest.take(log.facts())
    assert len(digest) == 0


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 2**63 - 1)), max_size=20))
def test_what_was_encoded_is_read_back(puts: list[tuple[str, int]]) -> None:
    """Sixteen bytes a key."""
    log = Log()
    for id, revision in puts:
        log.put(id, revision)
    digest = Digest()
    digest.take(log.facts())
    data = digest.encode()
    assert len(data) == 16 * len({id for id, _ in puts})
    assert Digest(data).encode() == data


@pytest.mark.parametrize("data", [b"x", b"12345678"])
def test_what_is_no_digest_is_refused(data: bytes) -> None:
    """Of an odd number of bytes or of numbers."""
    with pytest.raises(WireError):
        Digest(data)

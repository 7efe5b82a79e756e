"""Every reader of bytes, fed with what is nearly right: it takes it, or says in our words why not."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import changed
from tests.fuzz.targets import BY_NAME, TARGETS, Target, feed, quiet

_SLOW = {"store": 15, "store file": 40, "status": 60, "index": 60, "topology": 60, "agent": 100}
_SLOW["command line"] = 50
_EXAMPLES = 150

each_target = pytest.mark.parametrize("target", TARGETS, ids=[one.name for one in TARGETS])


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    quiet()
    yield
    logging.disable(logging.NOTSET)


@each_target
def test_what_is_well_formed_is_taken(target: Target) -> None:
    """A fuzzer that begins from nothing but refusals would test nothing but the first refusal."""
    seeds = list(target.seeds())
    assert seeds
    taken = [feed(target, seed) for seed in seeds]
    assert any(taken)


@each_target
def test_nothing_but_our_errors_comes_of_what_is_nearly_right(target: Target) -> None:
    """No traceback, no wait, and every refusal of a document names a field."""
    seeds = list(target.seeds())

    @settings(
        max_examples=_SLOW.get(target.name, _EXAMPLES),
        deadline=20_000,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(changed(seeds))
    def check(data: bytes) -> None:
        feed(target, data)

    check()


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text_is_a_document_or_refused(text: str) -> None:
    """Whatever somebody pastes into a file."""
    feed(BY_NAME["documents"], text.encode("utf-8", "surrogatepass"))

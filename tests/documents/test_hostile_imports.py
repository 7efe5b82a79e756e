"""Real documents of other control planes with things in them that no schema has.

The rule: an importer publishes an object or lists it with the reason; it never ends in anything else,
and what it publishes a publisher takes. Edits are of the document, not of its bytes: what a byte
fuzzer seldom makes is a document that is sound JSON and wrong in one field.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from southbound.errors import ConfigError
from tests.fuzz import importers, samples

_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**63, 2**64, -1, 0, 10**30]),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["", "a" * 300, "a\x1fb", "\0", "é", "\ud800", "10.0.0.0/8", "1", "id"]),
    st.sampled_from([[], {}, [None], [[]], {"": None}, {"id": []}, [{"id": "x"}], {"id": "x"}]),
    st.recursive(
        st.sampled_from([1, "a"]),
        lambda inner: st.lists(inner, min_size=1, max_size=1),
        max_leaves=80,
    ),
)
_KEYS = st.one_of(
    st.text(max_size=4),
    st.sampled_from(
        ["id", "revision_number", "network_id", "resources", "configuration", "operation_type",
         "portStates", "port_states", "hostResources", "vpc_id", "binding:host_id", "type"]
    ),
)  # fmt: skip


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a document: what holds it, and under which key or index."""
    pending = [value]
    while pending:
        holder = pending.pop()
        steps = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, inner in list(steps):
            yield holder, key
            if isinstance(inner, dict | list):
                pending.append(inner)


@st.composite
def edited(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Draw a document with one to four edits."""
    value = copy.deepcopy(json.loads(draw(st.sampled_from(seeds))))
    for _ in range(draw(st.integers(1, 4))):
        places = list(_places(value))
        if not places:
            break
        holder, key = draw(st.sampled_from(range(len(places))).map(places.__getitem__))
        match draw(st.sampled_from(["put", "put", "drop", "add", "twice", "rename"])):
            case "put":
                # What is drawn is shared among examples, and a later edit may be of its inside.
                holder[key] = copy.deepcopy(draw(_VALUES))
            case "drop":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(_KEYS)] = copy.deepcopy(draw(_VALUES))
            case "rename" if isinstance(holder, dict):
                holder[draw(_KEYS)] = holder.pop(key)
            case _ if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("read", "seeds"),
    [
        (importers.read_neutron, samples.neutron()),
        (importers.read_goalstate, samples.goalstates()),
    ],
    ids=["neutron", "goalstate"],
)
def test_every_object_is_published_or_listed(
    read: Callable[[bytes], None], seeds: tuple[bytes, ...]
) -> None:
    """Whatever stands in any field; a document that holds what nothing can carry is refused by place."""

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(edited(seeds))
    def check(data: bytes) -> None:
        refused: ConfigError | None = None
        try:
            read(data)
        except ConfigError as error:
            refused = error
        assert refused is None or refused.faults

    check()

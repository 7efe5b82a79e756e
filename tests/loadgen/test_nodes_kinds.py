"""What compact nodes know of kinds is what everybody knows."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loadgen.nodes.kinds import facts_of, refs_of
from southbound.resources import (
    KINDS,
    PORT,
    RANK_UNKNOWN_KIND,
    ResourceKey,
    Scope,
    ScopeClass,
    host_scope,
    rank_of,
    references,
    vpc_scope,
)
from southbound.wire.envelope import decode_spec, encode_spec

_ids = st.sampled_from(["", "a", "b", "é"])
_values = st.one_of(
    st.none(),
    _ids,
    st.integers(0, 9),
    st.lists(_ids, max_size=3),
    st.dictionaries(st.sampled_from(["subnet_id", "x"]), _ids, max_size=2),
    st.lists(
        st.dictionaries(
            st.sampled_from(["subnet_id", "ip_address"]),
            st.one_of(_ids, st.integers(0, 9)),
            max_size=2,
        ),
        max_size=3,
    ),
)
_FIELDS = sorted({one.field for kind in KINDS.values() for one in kind.references} | {"other"})


@given(
    st.sampled_from([*KINDS, "unheard_of"]),
    st.sampled_from([host_scope("h"), vpc_scope("v")]),
    st.dictionaries(st.sampled_from(_FIELDS), _values),
)
def test_references_are_the_same(kind: str, scope: Scope, given_spec: dict[str, Any]) -> None:
    """In every kind and scope, for whatever a record may hold."""
    spec = decode_spec(encode_spec(given_spec))
    suffix = f"{kind}\x1fid".encode()
    found = refs_of(facts_of(suffix), spec, of_host=scope.cls is ScopeClass.HOST)
    wanted = tuple(
        (
            named.scope.id if named.scope.cls is ScopeClass.VPC and scope != named.scope else "",
            f"{named.kind}\x1f{named.id}".encode(),
        )
        for named in references(ResourceKey(scope, kind, "id"), spec)
    )
    assert found == wanted


def test_ranks_and_ports_are_the_same() -> None:
    """Every known kind, and one that nobody knows."""
    for kind in KINDS:
        facts = facts_of(f"{kind}\x1fx".encode())
        assert facts.rank == rank_of(kind)
        assert facts.port == (kind == PORT)
    assert facts_of(b"unheard_of\x1fx").rank == RANK_UNKNOWN_KIND
    assert facts_of(b"vpc\x1fx").named
    assert not facts_of(b"neighbor\x1fx").named

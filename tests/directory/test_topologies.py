from collections.abc import Callable

import msgspec
import pytest

from southbound.directory.topologies import (
    CurrentTopology,
    Stored,
    decode_stored,
    encode_stored,
    pool_slots,
    succeed,
)
from southbound.errors import ConfigError, WireError
from southbound.partitioning.topology import Az, Cluster, Pool, PublicKind, Topology

FIRST = Topology(
    region="r",
    azs=(Az(id="a", journal="c1"),),
    clusters=(
        Cluster(id="c1", az="a", bootstrap=("x:1",), kafka_id="K"),
        Cluster(id="c2", az="a", bootstrap=("x:2",), client={"security.protocol": "SSL"}),
    ),
    pools=(
        Pool(id="p", cluster="c1", cls="host", topics=2, partitions=3, max_per_slot=4),
        Pool(id="q", cluster="c2", cls="vpc", topics=2, partitions=3, max_per_slot=4),
    ),
    public=(PublicKind(kind="elb", cluster="c1", partitions=8),),
)


def changed(**fields: object) -> Topology:
    """The first topology with something else."""
    return msgspec.structs.replace(FIRST, **fields)


def stored() -> Stored:
    """The first topology as it is stored."""
    return succeed(None, FIRST, {})


def test_the_first_topology_is_version_one() -> None:
    """And the same document again is no new version."""
    first = stored()
    assert first.topology.version == 1
    assert succeed(first, FIRST, {}) is first


def test_documents_are_read_as_they_were_written() -> None:
    """What is retired stands beside the topology."""
    both = Stored(FIRST, ("old", "public/old"))
    assert decode_stored(encode_stored(both)) == both
    with pytest.raises(WireError, match="malformed topology"):
        decode_stored("{}")


def test_pools_are_added_and_retired() -> None:
    """An empty pool may go, and its name goes with it for ever."""
    extra = Pool(id="extra", cluster="c1", cls="host", topics=9, partitions=9, max_per_slot=9)
    grown = succeed(stored(), changed(pools=(*FIRST.pools, extra)), {})
    assert (grown.topology.version, grown.retired) == (2, ())
    shrunk = succeed(grown, FIRST, {"p": 5})
    assert (shrunk.topology.version, shrunk.retired) == (3, ("extra",))
    with pytest.raises(ConfigError, match="never used again"):
        succeed(shrunk, changed(pools=(*FIRST.pools, extra)), {})


def test_a_kind_is_retired_like_a_pool() -> None:
    """Its topic's name must not come back either."""
    without = succeed(stored(), changed(public=()), {})
    assert without.retired == ("public/elb",)
    with pytest.raises(ConfigError):
        succeed(without, FIRST, {})
    with pytest.raises(ConfigError, match="3 placements"):
        succeed(stored(), changed(public=()), {"public/elb": 3})


def _pool(**fields: object) -> Callable[[], Topology]:
    return lambda: changed(
        pools=(msgspec.structs.replace(FIRST.pools[0], **fields), FIRST.pools[1])
    )


@pytest.mark.parametrize(
    "wanted",
    [
        _pool(topics=3),
        _pool(partitions=4),
        _pool(cluster="c2"),
        lambda: changed(pools=FIRST.pools[:1]),
        lambda: changed(azs=(Az(id="a", journal="c2"),)),
        lambda: changed(azs=(Az(id="b", journal="c1"),)),
        lambda: changed(public=(PublicKind(kind="elb", cluster="c1", partitions=7),)),
        lambda: changed(public=(PublicKind(kind="elb", cluster="c2", partitions=8),)),
        lambda: changed(
            clusters=(msgspec.structs.replace(FIRST.clusters[0], kafka_id="L"), FIRST.clusters[1])
        ),
        lambda: changed(
            clusters=(
                msgspec.structs.replace(FIRST.clusters[0], interest_partitions=9),
                FIRST.clusters[1],
            )
        ),
    ],
)
def test_what_would_lose_placements_is_refused(wanted: Callable[[], Topology]) -> None:
    """Sizes, places, journals and identities stay; what holds placements stays."""
    with pytest.raises(ConfigError, match="cannot follow"):
        succeed(stored(), wanted(), {"q": 1})


@pytest.mark.parametrize(
    "wanted",
    [
        _pool(max_per_slot=99),
        lambda: changed(public=(PublicKind(kind="elb", cluster="c1", partitions=80),)),
        lambda: changed(azs=(*FIRST.azs, Az(id="b", journal="c2"))),
        lambda: changed(
            clusters=(
                msgspec.structs.replace(FIRST.clusters[0], bootstrap=("y:9",)),
                msgspec.structs.replace(FIRST.clusters[1], kafka_id="M"),
            )
        ),
    ],
)
def test_what_loses_nothing_may_change(wanted: Callable[[], Topology]) -> None:
    """Limits, addresses, more partitions of a public kind, further zones."""
    assert succeed(stored(), wanted(), {"p": 1, "q": 1}).topology.version == 2


def test_all_faults_are_gathered() -> None:
    """Whoever wrote the document wants to mend it in one go."""
    wanted = changed(
        azs=(Az(id="a", journal="c2"),),
        pools=(msgspec.structs.replace(FIRST.pools[0], topics=9),),
    )
    with pytest.raises(ConfigError) as caught:
        succeed(stored(), wanted, {"q": 2})
    places = {fault.place for fault in caught.value.faults}
    assert places == {"azs[a].journal", "pools[p].topics", "pools[q]"}


def test_the_current_topology_never_goes_back() -> None:
    """Without one, asking is an error that says what to do."""
    current = CurrentTopology(None)
    assert not current.known
    with pytest.raises(ConfigError, match="apply one first"):
        _ = current.topology
    second = Stored(msgspec.structs.replace(FIRST, version=2))
    current.adopt(second)
    current.adopt(stored())
    assert current.topology.version == 2
    given = CurrentTopology(FIRST)
    given.adopt(second)
    assert given.stored is second


def test_every_counted_name_has_its_number_of_slots() -> None:
    """Pools by their id, public kinds by a name that no pool can have."""
    assert pool_slots(FIRST) == {"p": 6, "q": 6, "public/elb": 8}


def test_the_first_zone_stays_first() -> None:
    """Its journal decides about the topology, and its cluster keeps the plans of moves."""
    second = Az(id="b", journal="c2")
    grown = succeed(stored(), changed(azs=(*FIRST.azs, second)), {})
    with pytest.raises(ConfigError, match="the first one"):
        succeed(grown, changed(azs=(second, *FIRST.azs)), {})

from __future__ import annotations

import msgspec
import pytest

from southbound.directory.verdict import Held
from southbound.janitor.standing import PUBLIC, UNKNOWN, Standing, Whereabouts, entered, standing_of
from southbound.partitioning.placement import Address, Placement, VpcPlacement, address_of
from southbound.partitioning.topology import Az, Cluster, Pool, Topology
from southbound.resources import PUBLIC_SCOPE, host_scope, vpc_scope

TOPOLOGY = Topology(
    region="test",
    azs=(Az(id="az", journal="c1"),),
    clusters=tuple(Cluster(id=id, az="az", bootstrap=("x:1",)) for id in ("c1", "c2")),
    pools=tuple(
        Pool(id=f"{id}-vpc", cluster=id, cls="vpc", topics=2, partitions=4, max_per_slot=9)
        for id in ("c1", "c2")
    ),
)
VPC = vpc_scope("blue")
HOME, REPLICA = Placement("c1-vpc", 0), Placement("c2-vpc", 1, 2, 17)
ROW = VpcPlacement(5, (HOME, REPLICA))


def seen_from(placement: Placement, row: VpcPlacement = ROW) -> Standing:
    """Return how the VPC stands, seen from the slot of a placement."""
    address = address_of("vpc", VPC.id, placement, TOPOLOGY)
    return standing_of(VPC, Held(row.epoch, row.row()), address, TOPOLOGY)


def test_a_replica_is_here_from_its_start() -> None:
    """Under the epoch at which it was placed, which its seal names."""
    assert seen_from(REPLICA) == Standing(Whereabouts.HERE, 2, 17)
    assert seen_from(HOME) == Standing(Whereabouts.HERE, 1, 0)


def test_what_is_elsewhere_is_away_under_the_rows_epoch() -> None:
    """That decides which attempts to move it are over."""
    gone = msgspec.structs.replace(ROW, replicas=(HOME,))
    assert seen_from(REPLICA, gone) == Standing(Whereabouts.AWAY, 5)


def test_nothing_is_said_of_what_is_not_known() -> None:
    """A scope without an entry, or with a pool that this topology does not know."""
    address = Address("c1", "sb.c1-vpc.000", 0)
    assert standing_of(VPC, None, address, TOPOLOGY) == UNKNOWN
    strange = VpcPlacement(2, (Placement("later-vpc", 0),))
    assert standing_of(VPC, Held(2, strange.row()), address, TOPOLOGY) == UNKNOWN


def test_public_resources_are_always_here() -> None:
    """No journal is asked for them."""
    assert standing_of(PUBLIC_SCOPE, None, Address("c1", "x", 0), TOPOLOGY) == PUBLIC


@pytest.mark.parametrize(
    ("scope", "row", "wanted"),
    [
        (VPC, ROW.row(), [REPLICA]),
        (host_scope("h"), "p:0:1:0", []),
        (host_scope("h"), "p:0:3:9", [Placement("p", 0, 3, 9)]),
    ],
)
def test_what_was_copied_into_needs_a_seal(scope: object, row: str, wanted: object) -> None:
    """A home or a host that never moved was filled by publishers alone."""
    held = Held(3, row)
    assert list(entered(scope, held)) == wanted  # type: ignore[arg-type]

from __future__ import annotations

from southbound.nca.parking import Parking, describe
from southbound.resources import ResourceKey, host_scope, vpc_scope

PORT = ResourceKey(host_scope("h"), "port", "p")
VPC = ResourceKey(vpc_scope("v"), "vpc", "v")
SUBNET = ResourceKey(vpc_scope("v"), "subnet", "s")


def test_who_waits_is_found_by_what_is_missing() -> None:
    """From each of the missing, until it waits no more."""
    parking = Parking()
    parking.park(PORT, (VPC, SUBNET))
    assert parking.waiting_for(VPC) == parking.waiting_for(SUBNET) == (PORT,)
    assert (len(parking), parking.count_in(PORT.scope)) == (1, 1)
    parking.unpark(PORT)
    assert parking.waiting_for(VPC) == ()
    assert (len(parking), parking.count_in(PORT.scope)) == (0, 0)


def test_parking_again_replaces_what_is_missing() -> None:
    """Only the latest reasons count."""
    parking = Parking()
    parking.park(PORT, (VPC, SUBNET))
    parking.park(PORT, (SUBNET,))
    assert parking.waiting_for(VPC) == ()
    assert (len(parking), parking.count_in(PORT.scope)) == (1, 1)


def test_unparking_what_does_not_wait_changes_nothing() -> None:
    """It may be asked of any resource."""
    parking = Parking()
    parking.unpark(PORT)
    assert len(parking) == 0


def test_what_is_missing_is_told_in_a_short_line() -> None:
    """A report is no place for a thousand ids."""
    assert describe((VPC,)) == "waits for vpc:v/vpc/v"
    many = tuple(SUBNET._replace(id=str(number)) for number in range(9))
    assert describe(many).endswith("vpc:v/subnet/4 and 4 more")

"""Where an agent looks for its streams, and when it stops to look."""

from __future__ import annotations

from southbound.partitioning.placement import Placement, VpcPlacement
from tests.nca.records import of_vpc, port
from tests.nca.world import HOST, World, host


def test_a_host_that_came_back_looks_no_more_for_what_it_still_follows() -> None:
    """Its VPC was not found where it went; back where that is read, nothing is due any more."""
    world = World()
    world.vpcs["v"] = VpcPlacement(1, (Placement("vpc-a", 0),))
    world.publish(of_vpc("v", "vpc", "v", 1))
    world.publish(port(HOST, "p", 1, "v"))
    world.start()
    world.run()
    places = [Placement("host-a", 0), Placement("host-c", 0, 2), Placement("host-a", 0, 3, 2)]
    world.mark(host(), *places[:2])
    world.run()
    assert world.core.gauges().unresolved == 1
    world.mark(host(), *places[1:])
    world.run()
    deadline_s = world.core.deadline()
    assert world.core.is_caught_up()
    assert deadline_s is None or deadline_s > world.now.s

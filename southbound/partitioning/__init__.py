"""Where things live: slots, placements, pools. Pure: the publisher, the agent and the command line
all compute the same answer from the same small row.
"""

from southbound.partitioning.hashing import Slot, slot_of
from southbound.partitioning.placement import Placement, VpcPlacement
from southbound.partitioning.topology import Cluster, Pool, PublicKind, Topology

__all__ = [
    "Cluster",
    "Placement",
    "Pool",
    "PublicKind",
    "Slot",
    "Topology",
    "VpcPlacement",
    "slot_of",
]

"""The publisher: carries changesets into the streams of hosts, VPCs and workers, and says so."""

from southbound.producer.publisher import Publisher
from southbound.producer.receipts import Accepted, Receipt, Receipts

__all__ = ["Accepted", "Publisher", "Receipt", "Receipts"]

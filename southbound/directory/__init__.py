"""Where hosts, VPCs and public resources live: Redis finds, Kafka decides (docs/design.md §4)."""

from southbound.directory.audit import Difference
from southbound.directory.directory import Directory

__all__ = ["Difference", "Directory"]

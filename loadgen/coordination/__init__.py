"""Workers on several machines, led by one process; nothing but Redis between them.

The rule: whoever is waited for must be seen to live. A worker holds a lease and its leader another;
when a lease runs out, or a process ends, everybody who waits is told which one it was, and nobody
waits for ever.
"""

from __future__ import annotations

from loadgen.coordination.board import Board
from loadgen.coordination.clock import SharedClock
from loadgen.coordination.leader import Leader, LeaderSettings, LostWorker
from loadgen.coordination.messages import Card
from loadgen.coordination.outpost import Outpost, OutpostSettings
from loadgen.coordination.seat import Hand, Say

__all__ = [
    "Board",
    "Card",
    "Hand",
    "Leader",
    "LeaderSettings",
    "LostWorker",
    "Outpost",
    "OutpostSettings",
    "Say",
    "SharedClock",
]

"""What a worker may be asked to be. Nothing else runs on a worker's machine, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from loadgen.bare import make_bare_reader, make_bare_sender
from loadgen.coordination.seat import Hand, Say
from loadgen.enacting import make_enactor
from loadgen.publishing import make_publisher
from loadgen.verifying import make_reader

PUBLISHER = "publisher"
READER = "reader"
ENACTOR = "enactor"
BARE_SENDER = "bare-sender"
BARE_READER = "bare-reader"

ROLES: Mapping[str, Callable[[Say], Hand]] = MappingProxyType(
    {
        PUBLISHER: make_publisher,
        READER: make_reader,
        ENACTOR: make_enactor,
        BARE_SENDER: make_bare_sender,
        BARE_READER: make_bare_reader,
    }
)

"""Histories on disk: bounded, compressed, readable up to the last whole frame.

The rule: a file is a row of frames, each four bytes of length (big-endian) and a zlib stream of
events, one msgpack array each. A writer that is killed loses what it had not flushed, and its file
ends in the middle of a frame at worst; a file that is full takes no more, and says so. Either way
whoever reads it is told by a `Truncated` event, never by silence.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import msgspec

from loadgen.histories.events import Event, Truncated
from southbound.errors import WireError

_LENGTH = struct.Struct(">I")
_LEVEL = 1
_FRAME_BYTES = 1 << 20
_FRAME_BYTES_MAX = 64 << 20
_CLOSED = b"end"
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Event])


class HistoryWriter:
    """Appends events to one file. For one thread. `close` makes the file a whole one.

    `bytes_max` bounds the file, compressed; what comes after is dropped and `dropped` counts it.
    """

    def __init__(self, path: Path, *, bytes_max: int = 1 << 30) -> None:
        self.path = path
        self.dropped = 0
        self._bytes_max = bytes_max
        self._file: BinaryIO | None = None
        self._written = 0
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._last_us = 0

    def open(self) -> None:
        """Begin the file anew."""
        self._file = self.path.open("wb")

    def add(self, event: Event) -> None:
        """Append an event."""
        self._last_us = event.at_us
        if self.dropped:
            self.dropped += 1
            return
        encoded = _encoder.encode(event)
        self._buffer.append(encoded)
        self._buffered += len(encoded)
        if self._buffered >= _FRAME_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was added so far."""
        if not self._buffer:
            return
        events, self._buffer, self._buffered = self._buffer, [], 0
        data = zlib.compress(_array(events), _LEVEL)
        if self._written + len(data) > self._bytes_max:
            self.dropped += len(events)
            return
        self._write(data)

    def close(self) -> None:
        """Write the rest, and how the file ends."""
        if self._file is None:
            return
        self.flush()
        if self.dropped:
            why = f"full: {self.dropped} events dropped"
            self._write(zlib.compress(_array([_encoder.encode(Truncated(self._last_us, why))])))
        self._write(_CLOSED)
        self._file.close()
        self._file = None

    def _write(self, data: bytes) -> None:
        assert self._file is not None, "written before it was opened"
        self._file.write(_LENGTH.pack(len(data)) + data)
        self._file.flush()
        self._written += len(data)


class History:
    """A file of events, to be read as often as wanted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Event]:
        """Yield its events in the order of writing. Raises `WireError` for a file that is none."""
        last_us = 0
        with self.path.open("rb") as file:
            while True:
                data = _frame(file)
                if data == _CLOSED:
                    return
                if data is None:
                    yield Truncated(last_us, f"{self.path.name} was not closed")
                    return
                for event in self._events(data):
                    last_us = event.at_us
                    yield event

    def _events(self, data: bytes) -> list[Event]:
        try:
            return _decoder.decode(_unpacked(data))
        except (zlib.error, msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise WireError(f"{self.path} is no history: {error}") from error


class Histories:
    """Several histories, one after the other; each node's events stand in one of them."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._histories = [History(path) for path in sorted(paths)]

    def __iter__(self) -> Iterator[Event]:
        """Yield all events."""
        return chain.from_iterable(self._histories)


def _array(events: list[bytes]) -> bytes:
    """Return one msgpack array of values that are encoded already."""
    return b"\xdd" + _LENGTH.pack(len(events)) + b"".join(events)


def _unpacked(data: bytes) -> bytes:
    """Return a frame's events. Raises `ValueError` for one that unfolds to more than is ever written."""
    unpacker = zlib.decompressobj()
    events = unpacker.decompress(data, _FRAME_BYTES_MAX)
    if not unpacker.eof:
        raise ValueError(f"a frame is cut, or holds more than {_FRAME_BYTES_MAX} bytes")
    return events


def _frame(file: BinaryIO) -> bytes | None:
    """Return the next frame; None at the end, and for one that is not all there."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    # What a length announces is not believed before it is there: reading would make room for it.
    if length > os.fstat(file.fileno()).st_size - file.tell():
        return None
    return file.read(length)

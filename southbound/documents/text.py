"""Bytes into documents, whichever of the two syntaxes they are in.

The rule: JSON is tried first where the text looks like it, YAML otherwise; a text that is neither is
refused with the line. Size, depth and the number of values are bounded before they cost anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from southbound.documents.document import Document
from southbound.documents.json_text import NotJson, read_json
from southbound.documents.plain import plain_faults
from southbound.documents.yaml_text import read_yaml
from southbound.errors import ConfigError, Fault
from southbound.settings import DocumentSettings

_PIECE_BYTES = 1 << 20


def read_bounded(file: BinaryIO, bytes_max: int) -> bytes:
    """Return what a file holds, and one byte more than `bytes_max` of what holds more: `parse` refuses it.

    So a device or a pipe that never ends costs no more than the largest file.
    """
    pieces: list[bytes] = []
    rest = bytes_max + 1
    while rest > 0 and (piece := file.read(min(rest, _PIECE_BYTES))):
        pieces.append(piece)
        rest -= len(piece)
    return b"".join(pieces)


def parse(data: bytes, source: str, settings: DocumentSettings | None = None) -> list[Document]:
    """Return the documents that `data` holds; a list at the top is a list of documents.

    Raises `ConfigError` with every fault found, each with its place.
    """
    settings = settings or DocumentSettings()
    values = _split(_values(_text(data, source, settings), source, settings))
    several = len(values) > 1
    documents = [Document(source, value, index * several) for index, value in enumerate(values, 1)]
    faults = [
        replace(fault, place=document.place(fault.place))
        for document in documents
        for fault in plain_faults(document.value, "", depth_max=settings.depth_max)
    ]
    if faults:
        raise ConfigError(f"{source} holds what cannot be carried", faults)
    return documents


def _text(data: bytes, source: str, settings: DocumentSettings) -> str:
    if len(data) > settings.bytes_max:
        problem = f"is larger than {settings.bytes_max} bytes: split it"
        fault = Fault(source, f"{len(data)} bytes or more", problem)
        raise ConfigError(f"{source} cannot be read", [fault])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fault = Fault(
            f"{source}, byte {error.start}", data[error.start : error.start + 8], error.reason
        )
        raise ConfigError(f"{source} is not UTF-8 text", [fault]) from error


def _values(text: str, source: str, settings: DocumentSettings) -> list[Any]:
    if not text.lstrip().startswith(("{", "[")):
        return _yaml_values(text, source, settings)
    try:
        return read_json(text, source)
    except NotJson as error:
        # YAML has a flow style that looks like JSON.
        if len(text) <= settings.yaml_bytes_max:
            try:
                return _yaml_values(text, source, settings)
            except ConfigError as yaml_error:
                if not source.lower().endswith((".json", ".jsonl")):
                    raise ConfigError(
                        f"{source} is neither JSON nor YAML", [error.fault, *yaml_error.faults]
                    ) from yaml_error
        raise ConfigError(f"{source} is not JSON", [error.fault]) from error


def _yaml_values(text: str, source: str, settings: DocumentSettings) -> list[Any]:
    if len(text) > settings.yaml_bytes_max:
        limit = settings.yaml_bytes_max
        fault = Fault(source, len(text), f"YAML may hold at most {limit} bytes: use JSON lines")
        raise ConfigError(f"{source} cannot be read", [fault])
    return list(
        read_yaml(text, source, depth_max=settings.depth_max, nodes_max=settings.yaml_nodes_max)
    )


def _split(values: Sequence[Any]) -> list[Any]:
    return [item for value in values for item in (value if isinstance(value, list) else [value])]

"""JSON text into plain data: one value, several after another, or one a line.

The rule: nothing is guessed. A key that stands twice in one object is a fault, since readers differ
in which of the two they keep.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from southbound.documents.document import Document, joined
from southbound.errors import ConfigError, Fault

_SPACE = re.compile(r"[ \t\r\n]*")


class NotJson(ValueError):
    """The text is not JSON at all; `fault` says where that shows."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(str(fault))


def read_json(text: str, source: str) -> list[Any]:
    """Return the values of a text, in order.

    Raises `NotJson` for text of another syntax, `ConfigError` for JSON that must not be used.
    """
    doubles: list[tuple[dict[str, Any], str]] = []
    decoder = json.JSONDecoder(object_pairs_hook=_pairs_hook(doubles))
    values: list[Any] = []
    position = _space_end(text, 0)
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise NotJson(
                Fault(f"{source}, line {error.lineno}", _around(error), error.msg)
            ) from error
        except RecursionError as error:
            raise ConfigError(f"{source} cannot be read", [_deep(source)]) from error
        except ValueError as error:
            # Python's own limit on what it converts.
            fault = Fault(source, "...", "holds a whole number of thousands of digits")
            raise ConfigError(f"{source} cannot be read", [fault]) from error
        values.append(value)
        position = _space_end(text, position)
    if doubles:
        raise ConfigError(f"{source} cannot be read", _double_faults(values, source, doubles))
    return values


def _pairs_hook(doubles: list[tuple[dict[str, Any], str]]) -> Any:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    doubles.append((result, key))
                seen.add(key)
        return result

    return made


def _space_end(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _around(error: json.JSONDecodeError) -> str:
    return error.doc[max(0, error.pos - 20) : error.pos + 20]


def _deep(source: str) -> Fault:
    return Fault(source, "...", "is nested too deeply")


def _double_faults(
    values: list[Any], source: str, doubles: list[tuple[dict[str, Any], str]]
) -> Iterator[Fault]:
    wanted: dict[int, list[str]] = {}
    for holder, key in doubles:
        wanted.setdefault(id(holder), []).append(key)
    for number, value in enumerate(values, 1):
        document = Document(source, value, number * (len(values) > 1))
        for path, holder in _objects(value, ""):
            for key in wanted.get(id(holder), ()):
                yield Fault(document.place(path), key, "the key stands twice in one object")


def _objects(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    pending = [(path, value)]
    while pending:
        where, item = pending.pop()
        if isinstance(item, dict):
            yield where, item
            pending.extend((joined(where, key), inner) for key, inner in item.items())
        elif isinstance(item, list):
            pending.extend((joined(where, index), inner) for index, inner in enumerate(item))

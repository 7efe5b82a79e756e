"""YAML text into plain data, by a reader of YAML's events.

The rule: text means what it seems to mean, and no text can do harm. Only plain data comes out (tags
are refused, so nothing is ever constructed); a key that stands twice is refused; nesting, and what
aliases unfold to, is bounded while reading. Scalars are read as YAML 1.2's core schema does, since
YAML 1.1 turns the MAC `52:54:00:12:34:56` into a number, `no` into false and a date into an object.
A number must look like one beyond doubt: `1e3` and `007` are text, as ids often look like that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from southbound.errors import FAULTS_SHOWN_MAX, ConfigError, Fault

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?[0-9]+\.[0-9]*([eE][-+]?[0-9]+)?")
_NAMED: dict[str, float | bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf", ".Inf", ".INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_DIGITS_MAX = 4_000


def read_yaml(text: str, source: str, *, depth_max: int, nodes_max: int) -> Iterator[Any]:
    """Yield the documents of a text, empty ones left out. Raises `ConfigError` with all faults."""
    reader = _Reader(source, depth_max, nodes_max)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
            if isinstance(event, yaml.DocumentEndEvent) and reader.root is not None:
                yield reader.root
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML", [_syntax_fault(error, source)]) from error
    if reader.faults:
        raise ConfigError(f"{source} cannot be read", reader.faults)


def _syntax_fault(error: yaml.YAMLError, source: str) -> Fault:
    mark = getattr(error, "problem_mark", None)
    place = source if mark is None else f"{source}, line {mark.line + 1}"
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return Fault(place, getattr(error, "context", None), str(problem))


def scalar(text: str) -> Any:
    """Return what a plain (unquoted) scalar means."""
    if text in _NAMED:
        return _NAMED[text]
    if len(text) <= _DIGITS_MAX and _INTEGER.fullmatch(text):
        return int(text)
    if len(text) <= _DIGITS_MAX and _HEX.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


@dataclass(slots=True)
class _Frame:
    """A list or map that is being read. `first` is the count of nodes when it began."""

    items: list[Any] | dict[str, Any]
    anchor: str | None
    first: int
    key: str | None = None
    key_next: bool = True


@dataclass(slots=True)
class _Reader:
    """Builds one document after another out of events; `root` is the last one completed."""

    source: str
    depth_max: int
    nodes_max: int
    faults: list[Fault] = field(default_factory=list)
    root: Any = None
    _open: list[_Frame] = field(default_factory=list)
    _anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    _nodes: int = 0

    def take(self, event: Any) -> None:
        """Take the next event."""
        if isinstance(event, yaml.ScalarEvent):
            self._count(1, event)
            self._complete(self._scalar(event), event, event.anchor, 1)
        elif isinstance(event, yaml.MappingStartEvent):
            self._begin({}, event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._begin([], event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            frame = self._open.pop()
            self._complete(frame.items, event, frame.anchor, self._nodes - frame.first)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.root = None
            self._anchors.clear()

    def _begin(self, items: list[Any] | dict[str, Any], event: Any) -> None:
        expected = "map" if isinstance(items, dict) else "seq"
        if event.tag not in {None, "!", _TAG + expected}:
            self._fault(event, event.tag, "tags are not supported")
        if len(self._open) >= self.depth_max:
            raise self._refusal(event, f"is nested deeper than {self.depth_max} levels")
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)
        self._open.append(_Frame(items, event.anchor, self._nodes))
        self._count(1, event)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise self._refusal(event, f"the alias *{event.anchor} names nothing that is complete")
        value, size = self._anchors[event.anchor]
        self._count(size, event)
        self._complete(value, event, None, size)

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > self.nodes_max:
            raise self._refusal(
                event, f"holds more than {self.nodes_max} values, aliases unfolded: use JSON lines"
            )

    def _scalar(self, event: Any) -> Any:
        if event.tag in {None, "!", _TAG + "str"}:
            return scalar(event.value) if event.tag is None and event.implicit[0] else event.value
        self._fault(event, event.tag, "tags are not supported")
        return event.value

    def _complete(self, value: Any, event: Any, anchor: str | None, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        if not self._open:
            self.root = value
            return
        frame = self._open[-1]
        if isinstance(frame.items, list):
            frame.items.append(value)
        elif frame.key_next:
            frame.key = self._key(value, frame.items, event)
            frame.key_next = False
        else:
            if frame.key is not None:
                frame.items[frame.key] = value
            frame.key_next = True

    def _key(self, key: Any, known: dict[str, Any], event: Any) -> str | None:
        """Return a key, or None after noting why its value cannot be kept."""
        if not isinstance(key, str):
            self._fault(event, key, "a key must be text: put it in quotes")
        elif key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            self._fault(event, key, "merge keys are not supported: write the fields out")
        elif key in known:
            self._fault(event, key, "the key stands twice in one map")
        else:
            return key
        return None

    def _fault(self, event: Any, value: object, problem: str) -> None:
        self.faults.append(Fault(self._place(event), value, problem))
        if len(self.faults) >= FAULTS_SHOWN_MAX:
            # Nobody mends more at once, and a text may be nothing else.
            raise ConfigError(f"{self.source} cannot be read", self.faults)

    def _refusal(self, event: Any, problem: str) -> ConfigError:
        fault = Fault(self._place(event), "...", problem)
        return ConfigError(f"{self.source} cannot be read", [*self.faults, fault])

    def _place(self, event: Any) -> str:
        return f"{self.source}, line {event.start_mark.line + 1}"

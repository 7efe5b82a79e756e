"""Modules that others import and an agent never uses, loaded only if somebody does.

The rule: what runs a million times holds only what it needs. confluent-kafka imports asyncio for
clients that no agent makes: 7 MiB and 20 ms of each agent. `defer` lets such an import succeed and
loads the module when something of it is first touched (`importlib.util.LazyLoader`), so nothing
behaves otherwise.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


def defer(name: str) -> None:
    """Put off the loading of a top-level module; does nothing when it is loaded already."""
    if name not in sys.modules:
        sys.meta_path.insert(0, _Deferring(name))


class _Deferring:
    """Finds one module, once, and lets it be loaded lazily."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for that one module; for all others ask on."""
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec

"""A model's verdict without the cost of a model: its fields, judged as those of a plain map.

The rule: a judge accepts exactly what its model accepts, and a test holds each against the other. It
only says yes or no; whoever needs the reasons asks the model. Making an instance that nobody looks at
costs more than judging its fields, and a bulk judges hundreds of thousands of specs before it sends
the first. A model that a judge of fields cannot stand for, such as one with a rule in Python, is its
own judge.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic_core import CoreSchema, SchemaValidator

from southbound.documents.spec import Spec

Judge = Callable[[dict[str, Any]], object]
"""Raises pydantic's `ValidationError` for a spec that its model would not take."""

_PLAIN = frozenset({"str", "int", "float", "bool", "literal", "any", "none"})
_HOLDING = frozenset({"nullable", "list", "union", "dict"})


def model_judge(model: type[Spec]) -> Judge:
    """Return the judge that makes an instance, and whose errors say all that is wrong."""
    # What a model keeps besides its fields is of no use to a judge, and costs as much as judging.
    return partial(TypeAdapter(model).validator.validate_python, extra="ignore")


def fields_judge(model: type[Spec]) -> Judge | None:
    """Return the judge that makes no instance, or None where only the model itself can judge."""
    plain = _plain(TypeAdapter(model).core_schema)
    if plain is None:
        return None
    return SchemaValidator(cast("CoreSchema", plain)).validate_python


def _plain(node: Any) -> Any:
    """Return pydantic's schema with maps for models (docs of `pydantic_core.core_schema`), or None."""
    kind = node["type"]
    if kind == "model":
        return None if node.get("post_init") or node.get("custom_init") else _plain(node["schema"])
    if kind == "model-fields":
        fields = {name: _field(field["schema"]) for name, field in node["fields"].items()}
        if None in fields.values():
            return None
        return {"type": "typed-dict", "fields": fields, "extra_behavior": "ignore"}
    if kind in _HOLDING:
        return _held(node)
    if kind == "function-after":
        # A rule of one field is as good here; one that would be handed an instance is not.
        return node if node["schema"]["type"] in _PLAIN else None
    return node if kind in _PLAIN else None


def _held(node: dict[str, Any]) -> Any:
    """Return a schema that holds others, with theirs made plain."""
    made = dict(node)
    for place in ("schema", "items_schema", "keys_schema", "values_schema"):
        if place in node:
            made[place] = _plain(node[place])
            if made[place] is None:
                return None
    if "choices" in node:
        made["choices"] = [_plain(choice) for choice in node["choices"]]
        if None in made["choices"]:
            return None
    return made


def _field(node: dict[str, Any]) -> dict[str, Any] | None:
    """Return a field of a map; one with a default may be absent."""
    has_default = node["type"] == "default"
    schema = _plain(node["schema"] if has_default else node)
    if schema is None:
        return None
    return {"type": "typed-dict-field", "schema": schema, "required": not has_default}

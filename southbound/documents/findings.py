"""pydantic's errors as faults, in the words of this project.

The rule: a message says what the field must be; no pattern and no class name reaches a user.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from southbound.documents.document import joined
from southbound.documents.fields import MEANINGS
from southbound.errors import ConfigError, Fault

_SHOWN_MAX = 200

_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a field that belongs here",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a map",
    "model_type": "must be a map",
    "model_attributes_type": "must be a map",
    "string_too_short": "must not be empty",
}


def faults_of(error: ValidationError, path: str = "") -> list[Fault]:
    """Return one fault for each thing that pydantic found, its place below `path`."""
    return [
        Fault(
            joined(path, *found["loc"]),
            None if found["type"] == "missing" else found["input"],
            _problem(found["type"], found.get("ctx", {}), found["msg"]),
        )
        for found in error.errors(include_url=False)
    ]


def _problem(kind: str, context: dict[str, Any], message: str) -> str:
    if kind == "string_pattern_mismatch":
        return MEANINGS.get(context["pattern"], message)
    if kind == "value_error":
        return str(context["error"])
    return _WORDS.get(kind) or message[:1].lower() + message[1:].replace("Input", "it")


def refusal(message: str, faults: list[Fault]) -> ConfigError:
    """Return the error for these faults; beyond a screenful or two it only counts them."""
    shown = faults[:_SHOWN_MAX]
    if len(faults) > len(shown):
        rest = len(faults) - len(shown)
        shown.append(Fault("...", rest, "faults more were found"))
    return ConfigError(message, shown)

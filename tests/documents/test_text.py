"""Bytes into documents, whatever stands in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from southbound.documents.text import parse
from southbound.errors import ConfigError
from southbound.settings import DocumentSettings

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


def values(text: str | bytes, name: str = "file") -> list[Any]:
    """Return what the documents of a text hold."""
    data = text.encode() if isinstance(text, str) else text
    return [document.value for document in parse(data, name)]


def problems(text: str | bytes, name: str = "file") -> list[str]:
    """Return the faults of a text, as they are shown."""
    with pytest.raises(ConfigError) as caught:
        values(text, name)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# only a remark", []),
        ("a: 1", [{"a": 1}]),
        ("\ufeffa: 1", [{"a": 1}]),
        ("a: 1\n---\n---\nb: 2\n", [{"a": 1}, {"b": 2}]),
        ('{"a": 1}', [{"a": 1}]),
        ('{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ('[{"a": 1}, {"b": 2}]', [{"a": 1}, {"b": 2}]),
        ("- a: 1\n- b: 2", [{"a": 1}, {"b": 2}]),
        ("{a: 1}\n---\n{b: 2}", [{"a": 1}, {"b": 2}]),
        ("a: &x [1]\nb: *x", [{"a": [1], "b": [1]}]),
        ("a: !!str 5\n'<<': 6", [{"a": "5", "<<": 6}]),
    ],
)
def test_what_a_text_holds(text: str, expected: list[Any]) -> None:
    """YAML, JSON and JSON lines, with any number of documents."""
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("52:54:00:12:34:56", "52:54:00:12:34:56"),
        ("2024-01-01", "2024-01-01"),
        ("no", "no"),
        ("on", "on"),
        ("007", "007"),
        ("1e3", "1e3"),
        ("1_000", "1_000"),
        ("12", 12),
        ("-3", -3),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("true", True),
        ("~", None),
        ("'12'", "12"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_a_scalar_means_what_it_seems_to_mean(text: str, expected: Any) -> None:
    """A MAC, a date and an id stay text; only what is a number beyond doubt is one."""
    (document,) = values(f"x: {text}")
    assert document["x"] == expected
    assert type(document["x"]) is type(expected)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: 1\nb: 2\na: 3", "file, line 3: the key stands twice"),
        ('{"a": {"b": 1, "b": 2}}', "file, a: the key stands twice"),
        ('{"z": 1}\n{"a": 1, "a": 2}', "file, document 2: the key stands twice"),
        ("1: x", "a key must be text"),
        ("? [a]\n: b", "a key must be text"),
        ("<<: {a: 1}", "merge keys are not supported"),
        ("a: !!python/object/apply:os.system [ls]", "tags are not supported"),
        ("a: &x [*x]", "names nothing that is complete"),
        ("a: *nothing", "names nothing that is complete"),
        ('{"a": NaN}', "file, a: a number must be finite"),
        ("x: [1, .inf]", "file, x[1]: a number must be finite"),
        ('{"a": 1e999}', "file, a: a number must be finite"),
        ('{"a": 18446744073709551616}', "an integer of 65 bits"),
        ("a: " + "9" * 500, "a whole number must lie between"),
        ('{"a": ' + "9" * 5000 + "}", "thousands of digits"),
        ('{"a": "\\ud800"}', "file, a: must be text that UTF-8 can carry"),
        ('{"\\ud800": 1}', "a key must be text that UTF-8 can carry"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested too deeply"),
        ("x: " + "[" * 100_000, "nested deeper than 64"),
        ("- " * 50_000, "nested deeper than 64"),
        ("a: \x00", "control characters are not allowed"),
        ("a:\n\t- b", "line 2"),
    ],
)
def test_what_must_not_be_read(text: str, part: str) -> None:
    """Ambiguous, dangerous and uncarriable data is refused where it stands."""
    assert any(part in problem for problem in problems(text))


def test_an_alias_bomb_costs_nothing() -> None:
    """Aliases that would unfold to billions of values are refused while they are read."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for name, before in zip("bcdefghijk", "abcdefghij", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    assert any("aliases unfolded" in problem for problem in problems("\n".join(lines)))


def test_text_must_be_utf8() -> None:
    """Bytes that are no text are refused with their position."""
    assert problems(b"a: \xff")[0].startswith("file, byte 3")


def test_sizes_are_bounded() -> None:
    """A file, and a YAML file in particular, may hold only so much."""
    settings = DocumentSettings(bytes_max=10, yaml_bytes_max=5)
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        parse(b'{"a": 12345678}', "file", settings)
    with pytest.raises(ConfigError, match="use JSON lines"):
        parse(b"a: 1234", "file", settings)
    assert parse(b'{"a":123}', "file", settings)[0].value == {"a": 123}


def test_a_broken_json_file_is_told_in_json_terms() -> None:
    """A file called .json gets JSON's message, any other gets both."""
    assert len(problems('{"a": 1', "a.json")) == 1
    assert len(problems('{"a": 1', "a.txt")) == 2


@given(PLAIN)
def test_json_comes_back_as_it_was(value: Any) -> None:
    """Whatever JSON can say, of what a record can carry, is read as it was written."""
    assert values(json.dumps({"x": value})) == [{"x": value}]


def outcome(data: bytes) -> str:
    """Read bytes; what is read must be what JSON can say too, what is refused must be named."""
    try:
        read = [document.value for document in parse(data, "file")]
    except ConfigError as error:
        return "refused" if error.faults else "refused without a fault"
    return "read" if json.loads(json.dumps(read, allow_nan=False)) == read else "not plain"


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text raises anything but `ConfigError`, and that with a fault."""
    assert outcome(text.encode()) in {"read", "refused"}


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No bytes raise anything but `ConfigError`, and that with a fault."""
    assert outcome(data) in {"read", "refused"}


_SIGNS = [
    "&a",
    "*a",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "x",
    "-",
    "!!str",
    "---",
    "?",
    "|",
    "'",
    '"',
    "<<",
    "\n",
]


@given(st.lists(st.sampled_from(_SIGNS), max_size=25).map(" ".join))
def test_any_yaml_syntax_is_read_or_refused(text: str) -> None:
    """Odd combinations of YAML's signs end in plain data or in `ConfigError`."""
    assert outcome(text.encode()) in {"read", "refused"}

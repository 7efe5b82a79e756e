"""Asking a tracker that is none, or with words that are none."""

from __future__ import annotations

import pytest

from southbound.errors import ConfigError, EdgeError
from southbound.tracker.client import TrackerClient


class _Said(TrackerClient):
    """A client to whom one thing is said."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__("http://127.0.0.1:1")
        self._said = (status, answer)

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        return self._said


def test_who_knows_no_gates_is_no_tracker() -> None:
    """A gate answers for hosts of which nothing was told, too."""
    with pytest.raises(EdgeError, match="no tracker"):
        _Said(404, b"{}").gate("h", "port", "p")


@pytest.mark.parametrize("answer", [b"", b"[]", b"\xff", b'{"a":' * 9_000, b'{"host": 1}'])
def test_an_answer_that_is_none_is_an_edge_error(answer: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(EdgeError, match="no tracker"):
        _Said(200, answer).host("h")


@pytest.mark.parametrize(
    "url",
    ["http://[", "http://[::", "http://h:x", "http://h:99999", "http://", "h:1", "http://[*a]"],
)
def test_an_address_that_is_none_is_named(url: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigError, match="tracker"):
        TrackerClient(url)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("h", "port", "\udcff"), "id"),
        (("h", "a\x1f", "p"), "kind"),
        (("h" * 300, "port", "p"), "id"),
    ],
)
def test_a_gate_is_asked_for_by_ids(words: tuple[str, str, str], field: str) -> None:
    """What is none is the caller's mistake."""
    with pytest.raises(ConfigError, match=field):
        _Said(200, b"{}").gate(*words)


def test_a_gates_vpc_is_an_id() -> None:
    """Where there is one."""
    with pytest.raises(ConfigError, match="vpc"):
        _Said(200, b"{}").gate("h", "subnet", "s", vpc="\udcff")

from __future__ import annotations

import subprocess
import sys

_HEADS = "import sys; from southbound.nca.deferred import defer; "


def _told(code: str) -> str:
    """Return what a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, "-c", _HEADS + code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_an_agent_loads_neither_asyncio_nor_redis() -> None:
    """All of it is imported, and what it never uses is not there."""
    code = (
        "defer('asyncio'); import southbound.nca.service, southbound.directory;"
        "print('asyncio.events' in sys.modules, 'ssl' in sys.modules, 'redis' in sys.modules)"
    )
    assert _told(code) == "False False False"


def test_what_was_deferred_is_there_when_it_is_wanted() -> None:
    """The first use loads it as if nobody had put it off."""
    code = (
        "defer('asyncio'); import southbound.edge.kafka; import asyncio;"
        "print(asyncio.run(asyncio.sleep(0, 7)), 'asyncio.events' in sys.modules)"
    )
    assert _told(code) == "7 True"


def test_what_is_loaded_stays_as_it_is() -> None:
    """Nothing is put off that somebody has already."""
    code = "import json; defer('json'); print(len(sys.meta_path), json.dumps(1))"
    before = _told("print(len(sys.meta_path))")
    assert _told(code) == f"{before} 1"

from __future__ import annotations

from southbound.bench.agent import requests_in

_LOG = """\
2026-01-01 INFO southbound.nca: Sent word
%7|1795259988.897|SEND|agent#consumer-1| [thrd:x]: 127.0.0.1:1/1: Sent FetchRequest (v16, 108 bytes @ 0, CorrId 2)
%7|1795259988.898|RECV|agent#consumer-1| [thrd:x]: 127.0.0.1:1/1: Received FetchResponse (v16, 68 bytes)
%7|1795259998.897|SEND|agent#consumer-1| [thrd:x]: 127.0.0.1:1/1: Sent FetchRequest (v16, 108 bytes @ 0, CorrId 3)
%7|1795259998.899|SEND|agent#producer-2| [thrd:x]: 127.0.0.1:1/1: Sent MetadataRequest (v13, 42 bytes @ 0, CorrId 4)
"""


def test_requests_are_counted_by_their_kind() -> None:
    """Only what the client library says it has sent counts, not answers nor other words."""
    assert requests_in(_LOG) == {"Fetch": 2, "Metadata": 1}
    assert requests_in("") == {}

"""What `doctor` looks at of the services: whether a janitor and a tracker are at work, and well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from southbound.cli.findings import Finding, error, note, ok, warning
from southbound.errors import EdgeError

if TYPE_CHECKING:
    from southbound.directory.rollcall import Sign
    from southbound.edge.redis import RedisLink
    from southbound.tracker.client import TrackerClient

_SHOWN_MAX = 3


def signed_findings(link: RedisLink, now_us: int) -> list[Finding]:
    """Return what is to be said of the services that have signed in. Raises `EdgeError`."""
    from southbound.directory.rollcall import RollCall

    return list(sign_findings(RollCall(link).signs(), now_us))


def sign_findings(signs: Sequence[Sign], now_us: int) -> Iterator[Finding]:
    """Judge signs of life."""
    at_work = {sign.service for sign in signs}
    if "janitor" not in at_work:
        yield warning(
            "janitor",
            "none has finished a sweep lately: compaction may drop what counts",
            "southbound janitor run, at least once for the whole fleet",
        )
    if "tracker" not in at_work:
        yield note(
            "tracker",
            "none is at work: hosts effective, gates and publish --tracker have nobody to ask",
            "southbound tracker run",
        )
    for sign in signs:
        age_s = max(0, now_us - sign.at_us) // 1_000_000
        words = f"{sign.where}: {sign.saying}, {age_s} s ago"
        if sign.troubles:
            troubles = "; ".join(sign.troubles[:_SHOWN_MAX])
            yield warning(sign.service, f"{words}; {troubles}", "its /readyz and its log say more")
        else:
            yield ok(sign.service, words)


def tracker_findings(tracker: TrackerClient, url: str) -> Iterator[Finding]:
    """Judge the tracker that the command line names."""
    try:
        tracker.changesets(limit=1)
    except EdgeError as problem:
        yield error("tracker", str(problem), "start it, or name another with --tracker")
    else:
        yield ok("tracker", f"answers at {url}")

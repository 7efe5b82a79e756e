"""What `doctor` says of services, by their signs of life."""

from __future__ import annotations

from southbound.cli.findings import Severity
from southbound.cli.service_checks import sign_findings, tracker_findings
from southbound.directory.rollcall import Sign
from southbound.local.ports import free_ports
from southbound.tracker.client import TrackerClient

_NOW_US = 1_000_000_000


def _sign(service: str, *troubles: str) -> Sign:
    return Sign(
        service=service, where="m-1", saying="at it", troubles=troubles, at_us=_NOW_US - 7_500_000
    )


def test_services_that_are_away_are_missed() -> None:
    """A janitor is needed, a tracker is worth having."""
    found = {one.subject: one.severity for one in sign_findings([], _NOW_US)}
    assert found == {"janitor": Severity.WARNING, "tracker": Severity.NOTE}


def test_services_that_are_well_are_named() -> None:
    """Each with where it is, what it says, and when."""
    found = list(sign_findings([_sign("janitor"), _sign("tracker")], _NOW_US))
    assert [one.severity for one in found] == [Severity.OK, Severity.OK]
    assert found[0].what == "m-1: at it, 7 s ago"


def test_services_in_trouble_say_so() -> None:
    """A sign with troubles is a warning with their words."""
    (found, *_) = sign_findings([_sign("tracker", "c1 is away"), _sign("janitor")], _NOW_US)
    assert (found.subject, found.severity) == ("tracker", Severity.WARNING)
    assert "c1 is away" in found.what


def test_a_named_tracker_that_does_not_answer_is_an_error() -> None:
    """Somebody counts on it."""
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    (found,) = tracker_findings(TrackerClient(url), url)
    assert found.severity is Severity.ERROR
    assert "does not answer" in found.what

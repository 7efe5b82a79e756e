import pytest

from southbound.directory.index import Reservation, parse_reservations
from southbound.errors import WireError


def test_reservations_are_read() -> None:
    """One text holds all reservations of a key."""
    assert parse_reservations("1:p:0:17:1700000000|2:q:3:9:1700000001") == [
        Reservation(1, "p", 0, 17, 1_700_000_000),
        Reservation(2, "q", 3, 9, 1_700_000_001),
    ]


@pytest.mark.parametrize("text", ["", "1:p:0:17", "x:p:0:1:1", "1:p:0:17:5|"])
def test_what_is_no_reservation_is_refused(text: str) -> None:
    """A damaged one is an error that shows it."""
    with pytest.raises(WireError, match="not a reservation"):
        parse_reservations(text)

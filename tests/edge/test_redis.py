import pytest

from southbound.edge.redis import RedisLink, Script
from southbound.errors import ConfigError, EdgeError
from southbound.local.ports import LOOPBACK, free_ports


def link(url: str) -> RedisLink:
    """A link with little patience."""
    return RedisLink(url, timeout_s=0.5, client_name="test")


def test_messages_never_show_credentials() -> None:
    """The address in an error is the server's, without user and password."""
    assert link("redis://me:secret@db.example:6379/2").address == "redis://db.example:6379/2"
    assert link("redis://db.example/0").address == "redis://db.example/0"


@pytest.mark.parametrize("url", ["", "db.example:6379", "http://db.example", "redis://db:port/x"])
def test_a_bad_address_is_a_mistake_that_names_it(url: str) -> None:
    """It is noticed at the first call, before anything is sent."""
    with pytest.raises(ConfigError) as caught:
        link(url).call("PING")
    assert caught.value.faults[0].place == "redis_url"


def test_a_server_that_is_not_there_may_come_back() -> None:
    """The error names the address and may be retried; nothing counts as a connection."""
    away = link(f"redis://{LOOPBACK}:{free_ports(1)[0]}/0")
    with pytest.raises(EdgeError, match=LOOPBACK) as caught:
        away.call("PING")
    assert caught.value.retryable
    assert away.generation == 0
    away.close()


def test_a_script_is_known_by_its_text() -> None:
    """Another text is another script, whatever its name."""
    assert Script("a", "return 1").digest != Script("a", "return 2").digest
    assert Script("a", "return 1").digest == "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"


def test_a_connection_that_is_lost_while_it_is_read_is_an_error_that_passes() -> None:
    """The client library then looks into its closed buffer; any other such error is a bug."""
    link = RedisLink("redis://127.0.0.1:1/0", timeout_s=0.1, client_name="t")

    def lost() -> None:
        raise ValueError("I/O operation on closed file.")

    with pytest.raises(EdgeError, match="closed file") as caught:
        link._retried(lost, "PING")
    assert caught.value.retryable
    with pytest.raises(ValueError, match="strange"):
        link._retried(lambda: _raise(ValueError("strange")), "PING")


def _raise(error: Exception) -> None:
    raise error

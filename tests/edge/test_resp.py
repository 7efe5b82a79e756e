from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from southbound.edge.redis import RedisLink, Script
from southbound.edge.resp import Connection, LeanLink, encode, plain_address, visitor_link
from southbound.errors import EdgeError
from southbound.local.ports import LOOPBACK, free_ports

Answer = Callable[[Sequence[bytes]], bytes | None]


@contextmanager
def served(answer: Answer) -> Iterator[int]:
    """Run a server that answers each command as told, or hangs up where that is None."""
    with socket.create_server((LOOPBACK, 0)) as listener:

        def serve(client: socket.socket) -> None:
            # Who does not like an answer hangs up.
            with contextlib.suppress(ConnectionError), client, client.makefile("rb") as file:
                while head := file.readline():
                    words = [
                        file.read(int(file.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))
                    ]
                    told = answer(words)
                    if told is None:
                        return
                    client.sendall(told)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def polite(words: Sequence[bytes]) -> bytes:
    """Answer greetings as a server of run r1 does, everything else with an array of its words."""
    if words[0] == b"INFO":
        text = b"run_id:r1\r\nmaster_replid:m1\r\n"
        return b"$%d\r\n%s\r\n" % (len(text), text)
    if words[0] in {b"CLIENT", b"SELECT", b"AUTH"}:
        return b"+OK\r\n"
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in words)


def link(port: int, path: str = "/0", who: str = "") -> RedisLink:
    """A visitor's link with little patience."""
    return visitor_link(f"redis://{who}{LOOPBACK}:{port}{path}", timeout_s=2, client_name="test")


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("redis://db", True),
        ("redis://me:secret@db.example:6379/2", True),
        ("redis://db/", True),
        ("rediss://db", False),
        ("unix:///run/redis", False),
        ("redis://db/0?ssl_cert_reqs=none", False),
        ("redis://db:port/0", False),
        ("redis://db/x", False),
    ],
)
def test_only_plain_addresses_are_spoken_to_without_redis_py(url: str, *, plain: bool) -> None:
    """Whatever has options of its own is left to the full client, which also names mistakes."""
    assert (plain_address(url) is not None) is plain
    assert isinstance(visitor_link(url, timeout_s=1, client_name="t"), LeanLink) is plain


def test_a_command_is_an_array_of_bulk_strings() -> None:
    """Numbers are sent as text, bytes as they are."""
    assert encode(("SET", "ä", b"\0", 7)) == (
        b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa4\r\n$1\r\n\0\r\n$1\r\n7\r\n"
    )


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        (b"+OK\r\n", b"OK"),
        (b":-12\r\n", -12),
        (b"$-1\r\n", None),
        (b"$0\r\n\r\n", b""),
        (b"$4\r\na\r\nb\r\n", b"a\r\nb"),
        (b"*-1\r\n", None),
        (b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n", [1, [b"x"]]),
    ],
)
def test_answers_of_every_type_are_read(told: bytes, answer: object) -> None:
    """Strings come as bytes, lists as lists, what is absent as None."""
    with served(lambda _words: told) as port:
        connection = Connection(LOOPBACK, port, 2)
        assert connection.ask(("X",), 2) == answer
        connection.close()


def test_a_visitor_says_who_it_is_before_it_asks() -> None:
    """User, password, name and database go before the first command."""
    said: list[Sequence[bytes]] = []

    def answer(words: Sequence[bytes]) -> bytes:
        said.append(words)
        return polite(words)

    with served(answer) as port:
        asking = link(port, "/3", "me:se%2Fcret@")
        assert asking.call("GET", "x") == [b"GET", b"x"]
        asking.close()
    assert said[:3] == [
        [b"AUTH", b"me", b"se/cret"],
        [b"CLIENT", b"SETNAME", b"test"],
        [b"SELECT", b"3"],
    ]
    assert said[-1] == [b"GET", b"x"]


def test_a_broken_connection_is_replaced_and_noticed() -> None:
    """What was asked is asked again on a new one, which may lead to another memory."""
    hang_up = [False, True, False]

    def answer(words: Sequence[bytes]) -> bytes | None:
        return None if words[0] == b"GET" and hang_up.pop(0) else polite(words)

    with served(answer) as port:
        asking = link(port)
        asking.call("GET", "x")
        assert asking.generation == 1
        assert asking.call("GET", "y") == [b"GET", b"y"]
        assert asking.generation == 2
        asking.close()


def test_an_unknown_script_is_sent_whole() -> None:
    """The digest is tried first; the text goes when the server does not know it."""

    def answer(words: Sequence[bytes]) -> bytes:
        return b"-NOSCRIPT No matching script\r\n" if words[0] == b"EVALSHA" else polite(words)

    with served(answer) as port:
        asking = link(port)
        told = asking.run(Script("s", "return 1"), "key", {"a": 1})
        assert told == [b"EVAL", b"return 1", b"1", b"key", b"\x81\xa1a\x01"]
        asking.close()


@pytest.mark.parametrize(
    ("words", "retryable"),
    [("LOADING the dataset", True), ("NOPERM no", False), ("ERR wrong type", False)],
)
def test_what_a_server_refuses_is_an_error_with_its_words(words: str, *, retryable: bool) -> None:
    """Only what passes by itself may be retried."""

    def answer(asked: Sequence[bytes]) -> bytes:
        return f"-{words}\r\n".encode() if asked[0] == b"GET" else polite(asked)

    with served(answer) as port:
        asking = link(port)
        with pytest.raises(EdgeError, match=words) as caught:
            asking.call("GET", "x")
        asking.close()
    assert caught.value.retryable is retryable


def test_a_server_that_is_away_may_come_back() -> None:
    """The error names the address without credentials, and may be retried."""
    asking = link(free_ports(1)[0], who="me:secret@")
    with pytest.raises(EdgeError, match=LOOPBACK) as caught:
        asking.call("PING")
    assert caught.value.retryable
    assert "secret" not in str(caught.value)
    assert asking.generation == 0


BOMBS = [
    b"*2000000000\r\n",
    b"*1\r\n" * 100,
    b"$536870912\r\n",
    b"$99999999999999999999\r\n",
    b":1e5\r\n",
    b":" + b"1" * 5_000 + b"\r\n",
    b"$\xc2\xb2\r\n",
    b"+" + b"a" * 100_000,
    b"%1\r\n+a\r\n+b\r\n",
    b"\r\n",
    b"\0",
]


@pytest.mark.parametrize("told", BOMBS)
def test_a_server_that_is_none_is_an_edge_error(told: bytes) -> None:
    """Whatever it says instead of an answer: retryable, since the next server may be one."""
    with served(lambda words: told if words[0] == b"GET" else polite(words)) as port:
        connected = link(port)
        with pytest.raises(EdgeError) as caught:
            connected.call("GET", "x")
        connected.close()
    assert caught.value.retryable


@pytest.mark.parametrize("told", [b"+OK\r\n", b":1\r\n", b"*0\r\n", b"$2\r\n\xff\xfe\r\n"])
def test_a_greeting_that_is_answered_with_anything_is_survived(told: bytes) -> None:
    """INFO may be text that is none, or something else altogether."""
    with served(lambda words: told if words[0] == b"INFO" else polite(words)) as port:
        connected = link(port)
        with contextlib.suppress(EdgeError):
            assert connected.call("ECHO", "x") == [b"ECHO", b"x"]
        connected.close()


def test_a_server_that_answers_byte_by_byte_is_given_up() -> None:
    """Each byte comes within the timeout, the answer never ends: it takes a few timeouts, not for ever."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        done = threading.Event()

        def drip() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(b"$1000\r\n")
                while not done.wait(0.02):
                    try:
                        client.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        connection = Connection(LOOPBACK, listener.getsockname()[1], 2)
        with pytest.raises(TimeoutError):
            connection.ask(["GET", "x"], 0.1)
        connection.close()
        done.set()
        thread.join()


@pytest.mark.parametrize("number", ["9" * 5_000, "²", "٣", "x", "-1"])
def test_a_database_that_is_no_number_is_no_plain_address(number: str) -> None:
    """Whoever reads other addresses says what is wrong with it."""
    assert plain_address(f"redis://h/{number}") is None
    assert plain_address("redis://h/3") is not None

"""Which services are at work: signs of life in Redis, which end by themselves.

The rule: a sign is for people who look, never for a decision. A Redis that forgets loses signs until
the next ones; whoever cannot sign goes on with its work.
"""

from __future__ import annotations

import logging
import os
import socket
import time

import msgspec

from southbound.directory.keys import PREFIX
from southbound.edge.redis import RedisLink
from southbound.errors import EdgeError

log = logging.getLogger(__name__)

_COUNT = 1_000
_SIGNS_MAX = 1_000
_ROUNDS_MAX = 2_000
_LOOK_S = 10.0


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """One service's. `where`: machine and process; `saying`: what it is at, in a few words.

    `troubles`: what keeps it from its work, none when it is well. `at_us`: when it signed, in
    microseconds since 1970.
    """

    service: str
    where: str
    saying: str
    troubles: tuple[str, ...] = ()
    at_us: int


class RollCall:
    """Signs, and looks at who has signed. For one thread; making it does no IO."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._where = f"{socket.gethostname()}-{os.getpid()}"

    def sign(self, service: str, saying: str, troubles: tuple[str, ...], seconds: int) -> bool:
        """Say that this process is at work as a service; the sign stands for so many seconds.

        Return whether Redis took it.
        """
        made = Sign(
            service=service,
            where=self._where,
            saying=saying,
            troubles=troubles,
            at_us=time.time_ns() // 1000,
        )
        name = f"{PREFIX}at_work:{service}:{self._where}"
        try:
            self._link.call("SET", name, msgspec.json.encode(made), "EX", seconds)
        except EdgeError as error:
            log.info("no sign of life was left: %s", error)
            return False
        return True

    def signs(self) -> list[Sign]:
        """Return the signs that stand, in order. Raises `EdgeError`."""
        found: list[Sign] = []
        cursor: bytes = b"0"
        deadline_s = time.monotonic() + _LOOK_S
        for _ in range(_ROUNDS_MAX):
            try:
                cursor, names = self._link.call(
                    "SCAN", cursor, "MATCH", f"{PREFIX}at_work:*", "COUNT", _COUNT
                )
                values = self._link.call("MGET", *names) if names else []
                found += [sign for value in values if (sign := _read(value)) is not None]
                is_over = int(cursor) == 0
            except (TypeError, ValueError) as error:
                raise EdgeError(
                    f"what answers at {self._link.address} is no Redis: {error}", retryable=False
                ) from error
            if is_over or len(found) >= _SIGNS_MAX:
                break
            if time.monotonic() > deadline_s:
                raise self._endless()
        else:
            raise self._endless()
        return sorted(found, key=lambda sign: (sign.service, sign.where))

    def _endless(self) -> EdgeError:
        return EdgeError(
            f"the list of names in Redis at {self._link.address} does not end", retryable=True
        )


def _read(value: bytes | None) -> Sign | None:
    """Return a sign; None for one that has ended meanwhile, or that another software wrote."""
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=Sign)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None

"""What `doctor` looks at in Redis: whether it keeps what it is told, its clock, and how far behind
the journals it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from southbound.cli.findings import Finding, error, note, ok, warning
from southbound.errors import EdgeError

if TYPE_CHECKING:
    from southbound.directory.index import Position
    from southbound.edge.redis import RedisLink
    from southbound.partitioning.topology import Topology

SUBJECT = "redis"
SKEW_MAX_S = 1.0
_TIMEOUT_S = 6.0


def redis_findings(link: RedisLink) -> Iterator[Finding]:
    """Yield what is to be said of the server. Raises `EdgeError` when it does not answer."""
    began = time.time()
    told_s = link.time_us() / 1e6
    ended = time.time()
    try:
        info, saves = _info(link), _saves(link)
    except (AttributeError, TypeError, ValueError) as problem:
        raise EdgeError(
            f"what answers at {link.address} is no Redis: {problem}", retryable=False
        ) from problem
    yield note(SUBJECT, f"{_product(info)} at {link.address}")
    yield clock_finding(told_s, began, ended)
    yield from memory_findings(info, saves)


def clock_finding(told_s: float, asked_s: float, answered_s: float) -> Finding:
    """Judge Redis's clock against ours, between asking and answer."""
    skew_s = max(asked_s - told_s, told_s - answered_s, 0.0)
    if skew_s > SKEW_MAX_S:
        return warning(
            SUBJECT,
            f"its clock and this machine's are {skew_s:.1f} s apart, so latencies and ages are wrong",
            "run NTP on both machines",
        )
    return ok(SUBJECT, f"clocks agree within {SKEW_MAX_S:g} s")


def memory_findings(info: Mapping[str, str], saves: str | None) -> Iterator[Finding]:
    """Judge persistence, eviction and role, from INFO and the `save` setting (None: unknown)."""
    if info.get("aof_enabled") == "1":
        yield ok(SUBJECT, "appends every write to a file")
    elif saves:
        yield warning(
            SUBJECT,
            "saves snapshots only, so a crash forgets minutes of placements (the journal has them)",
            "appendonly yes",
        )
    else:
        yield error(
            SUBJECT,
            "persistence is off: a restart forgets the directory, and every look-up waits for the"
            " journals to be read again",
            "appendonly yes and appendfsync everysec in redis.conf",
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy != "noeviction":
        yield error(
            SUBJECT,
            f"maxmemory-policy is {policy}: placements may be evicted",
            "maxmemory-policy noeviction",
        )
    if info.get("role") not in {None, "master"}:
        yield error(SUBJECT, "is a replica, which takes no writes", "name the primary in --redis")


def cut_finding(what: str, begin: int, how: str) -> Finding | None:
    """Judge a log by where it begins, which compaction never moves; None when it is whole."""
    if begin == 0:
        return None
    return warning(
        SUBJECT, f"{what} begins at offset {begin}: somebody has deleted what stood before", how
    )


def ledger_findings(topology: Topology) -> Iterator[Finding]:
    """Judge whether the ledger of plans is whole; of one that cannot be asked its cluster says so."""
    from southbound.edge.tail import EndAsker
    from southbound.partitioning.topology import REBALANCE_TOPIC

    cluster = topology.cluster(topology.azs[0].journal)
    asker = EndAsker(cluster, REBALANCE_TOPIC, "southbound-doctor")
    try:
        begin, _ = asker.bounds(_TIMEOUT_S)
    except EdgeError as problem:
        yield note(SUBJECT, f"{REBALANCE_TOPIC} cannot be asked: {problem}", f"see {cluster.id}")
        return
    finally:
        asker.close()
    found = cut_finding(
        REBALANCE_TOPIC, begin, "southbound shards recover, if plans were under way then"
    )
    if found is not None:
        yield found


def journal_findings(topology: Topology, positions: Mapping[str, Position]) -> Iterator[Finding]:
    """Judge how far Redis is behind each AZ's journal, and whether that is whole."""
    from southbound.edge.tail import EndAsker
    from southbound.partitioning.topology import DIRECTORY_TOPIC

    for az in topology.azs:
        asker = EndAsker(topology.cluster(az.journal), DIRECTORY_TOPIC, "southbound-doctor")
        try:
            told, (begin, end) = asker.kafka_id(_TIMEOUT_S), asker.bounds(_TIMEOUT_S)
        except EdgeError as problem:
            yield error(
                SUBJECT,
                f"the journal of {az.id} cannot be read: {problem}",
                f"see cluster {az.journal}; nobody can be registered in {az.id} until then",
            )
            continue
        finally:
            asker.close()
        yield journal_finding(az.id, positions.get(az.id), told, end)
        cut = cut_finding(
            f"the journal of {az.id}", begin, "southbound directory verify; then what it says"
        )
        if cut is not None:
            yield cut


def journal_finding(az: str, position: Position | None, kafka_id: str, end: int) -> Finding:
    """Judge one AZ: what Redis took of its journal, and where that ends."""
    if position is None:
        if end == 0:
            return ok(SUBJECT, f"the journal of {az} is empty")
        return warning(
            SUBJECT,
            f"has read nothing of the journal of {az}, which holds {end} entries",
            "southbound directory rebuild",
        )
    if position.kafka_id != kafka_id or position.offset > end:
        return error(
            SUBJECT,
            f"knows another journal of {az} than the one that is there ({position.offset} entries of"
            f" {position.kafka_id}; now {end} of {kafka_id})",
            "restore the journal if it can be; else southbound directory verify names what Redis alone"
            " knows, and southbound directory rebuild --keep writes that into the journal",
        )
    if position.offset < end:
        return warning(
            SUBJECT,
            f"is {end - position.offset} entries behind the journal of {az}",
            "the next registration or opening of a publisher brings it up; if it does not,"
            " southbound directory rebuild",
        )
    return ok(SUBJECT, f"is at the end of the journal of {az} ({end} entries)")


def _info(link: RedisLink) -> dict[str, str]:
    found: dict[str, str] = {}
    for section in ("server", "memory", "persistence", "replication"):
        told = link.call("INFO", section)
        if isinstance(told, Mapping):
            found.update({_text(name): _text(value) for name, value in told.items()})
            continue
        for line in _text(told).splitlines():
            name, _, value = line.partition(":")
            found[name] = value.strip()
    return found


def _saves(link: RedisLink) -> str | None:
    """Return the `save` setting, None where CONFIG is not allowed."""
    try:
        told = link.call("CONFIG", "GET", "save")
    except EdgeError:
        return None
    pairs = told.items() if isinstance(told, Mapping) else zip(told[::2], told[1::2], strict=True)
    return next((_text(value) for _, value in pairs), "")


def _product(info: Mapping[str, str]) -> str:
    for name in ("valkey_version", "redis_version"):
        if name in info:
            return f"{name.partition('_')[0]} {info[name]}"
    return "a Redis of unknown version"


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

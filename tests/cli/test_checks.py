import pytest

from southbound.cli.findings import Finding, Severity
from southbound.cli.kafka_checks import identity_finding, topic_findings
from southbound.cli.machine_checks import FILES_MIN, files_finding, versions
from southbound.cli.redis_checks import (
    SKEW_MAX_S,
    clock_finding,
    cut_finding,
    journal_finding,
    memory_findings,
)
from southbound.directory.index import Position
from southbound.edge.admin import Drift
from southbound.partitioning.topology import Cluster


def cluster(kafka_id: str) -> Cluster:
    """Return a cluster that names itself so."""
    return Cluster(id="c1", az="az-a", bootstrap=("127.0.0.1:1",), kafka_id=kafka_id)


def only(findings: list[Finding]) -> Finding:
    """Return the one finding, which says how to mend it."""
    assert len(findings) == 1
    assert findings[0].how
    return findings[0]


@pytest.mark.parametrize(
    ("said", "severity"), [("x", Severity.OK), ("", Severity.WARNING), ("y", Severity.ERROR)]
)
def test_the_clusters_identity_is_compared(said: str, severity: Severity) -> None:
    """The same, not said, another."""
    assert identity_finding(cluster(said), "x").severity is severity


@pytest.mark.parametrize(
    ("drift", "severity", "how"),
    [
        (Drift("c1", "sb.a.000", "missing", "", "8 partitions", True), Severity.ERROR, "apply"),
        (Drift("c1", "sb.a.000", "partitions", "4", "8", False), Severity.ERROR, "new pool"),
        (
            Drift("c1", "sb.a.000", "cleanup.policy", "delete", "compact", True),
            Severity.ERROR,
            "apply",
        ),
        (Drift("c1", "sb.a.000", "retention.ms", "1", "2", True), Severity.WARNING, "apply"),
    ],
)
def test_topics_that_differ_are_judged(drift: Drift, severity: Severity, how: str) -> None:
    """How bad, and what mends it."""
    found = only(list(topic_findings("c1", [drift])))
    assert found.severity is severity
    assert how in found.how
    assert "sb.a.000" in found.what


def test_like_differences_are_one_finding() -> None:
    """Two hundred missing topics are one line that names the first."""
    drifts = [Drift("c1", f"sb.a.{n:03d}", "missing", "", "8", True) for n in range(200)]
    assert "200 topics are missing" in only(list(topic_findings("c1", drifts))).what


@pytest.mark.parametrize(
    ("info", "saves", "severity"),
    [
        ({"aof_enabled": "1"}, "", Severity.OK),
        ({"aof_enabled": "0"}, "3600 1", Severity.WARNING),
        ({"aof_enabled": "0"}, "", Severity.ERROR),
        ({}, None, Severity.ERROR),
    ],
)
def test_persistence_is_judged(info: dict[str, str], saves: str | None, severity: Severity) -> None:
    """Every write, snapshots only, nothing at all."""
    assert [one.severity for one in memory_findings(info, saves)] == [severity]


def test_eviction_and_replicas_are_errors() -> None:
    """Placements must not be evicted, and a replica takes no writes."""
    info = {
        "aof_enabled": "1",
        "maxmemory": "1000",
        "maxmemory_policy": "allkeys-lru",
        "role": "slave",
    }
    severities = [one.severity for one in memory_findings(info, "")]
    assert severities == [Severity.OK, Severity.ERROR, Severity.ERROR]


@pytest.mark.parametrize(
    ("told_s", "severity"),
    [
        (100.0, Severity.OK),
        (100.5, Severity.OK),
        (100.6 + SKEW_MAX_S, Severity.WARNING),
        (99.9 - SKEW_MAX_S, Severity.WARNING),
    ],
)
def test_clocks_are_compared_around_the_answer(told_s: float, severity: Severity) -> None:
    """What the answer took is no skew."""
    assert clock_finding(told_s, 100.0, 100.5).severity is severity


@pytest.mark.parametrize(
    ("position", "end", "severity"),
    [
        (None, 0, Severity.OK),
        (None, 5, Severity.WARNING),
        (Position("k", 5, True), 5, Severity.OK),
        (Position("k", 3, True), 5, Severity.WARNING),
        (Position("k", 9, True), 5, Severity.ERROR),
        (Position("other", 5, True), 5, Severity.ERROR),
    ],
)
def test_redis_is_compared_with_the_journals_end(
    position: Position | None, end: int, severity: Severity
) -> None:
    """Empty, unread, level, behind, ahead (a truncated journal), another cluster's."""
    assert journal_finding("az-a", position, "k", end).severity is severity


def test_logs_without_their_beginnings_are_named() -> None:
    """Compaction never moves a beginning; the finding names what helps."""
    assert cut_finding("the journal of az-a", 0, "x") is None
    found = cut_finding("the journal of az-a", 21, "southbound directory verify")
    assert found is not None
    assert (found.severity, "offset 21" in found.what) == (Severity.WARNING, True)
    assert found.how == "southbound directory verify"


def test_few_open_files_are_a_warning() -> None:
    """With the number, and where to raise it."""
    assert files_finding(1024).severity is Severity.WARNING
    assert files_finding(FILES_MIN).severity is Severity.OK


def test_versions_name_the_clients() -> None:
    """What a report of a fault should begin with."""
    told = " ".join(versions())
    assert "confluent-kafka" in told
    assert "missing" not in told

from pathlib import Path

from southbound.cli.topology import Line, _family
from southbound.errors import ConfigError
from tests.cli.conftest import Run


def test_a_bad_document_is_refused_with_all_its_faults(run: Run, tmp_path: Path) -> None:
    """Exit 2; every fault has its place, and no Redis is asked."""
    (tmp_path / "t.yaml").write_text(
        "region: r\nazs: [{id: az-a}]\n"
        "clusters: [{id: c1, az: az-x, bootstrap: [nonsense]}]\n"
        "pools: [{id: p, cluster: c1, class: host, topics: 0, partitions: 4, max_per_slot: 9}]\n"
    )
    result = run("topology", "apply", "t.yaml", "--redis", "redis://127.0.0.1:1")
    assert result.exit_code == ConfigError.exit_code
    assert "clusters[0].bootstrap[0]" in result.stderr
    assert "pools[0].topics" in result.stderr


def test_no_document_at_all_is_a_mistake(run: Run) -> None:
    """Neither named nor a local fleet's."""
    result = run("topology", "apply")
    assert result.exit_code == ConfigError.exit_code
    assert "no topology is named" in result.stderr


def test_topics_of_one_pool_are_one_family() -> None:
    """Rows are put together by pool, never across pools, nor over system topics."""

    def family(topic: str) -> str:
        return _family(Line("c1", "create", topic, "", "", ""))

    assert family("sb.c1-host.000") == family("sb.c1-host.001") != family("sb.c1-vpc.000")
    assert family("sb.moves") != family("sb.status")

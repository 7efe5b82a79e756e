"""Bad files and values to every command that takes any: one message, the right code, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from southbound.errors import ConfigError, EdgeError, WireError
from tests.cli.conftest import Run

NOBODY = ("--redis", "redis://127.0.0.1:1/0")
TRACKER = ("--tracker", "http://127.0.0.1:1")

FILES = {
    "nothing": b"",
    "NULs": b"\0" * 100,
    "no UTF-8": b"\xff\xfe\x00",
    "deep JSON": b"[" * 100_000,
    "deep YAML": b"- " * 50_000,
    "null": b"null",
    "a huge number": b'{"kind": "port", "host": "h", "id": "p", "revision": 1e5000}',
    "an endless line": b"a" * 200_000,
    "a key twice": b'{"region": "a", "region": "b"}',
    "a bomb": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9)) for n in range(98, 108)
    ),
    "a tag": b"!!python/object/apply:os.system ['true']",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("topology", "diff"), ConfigError.exit_code),
        (("topology", "apply"), ConfigError.exit_code),
        (("hosts", "register", "--az", "a", "--file"), ConfigError.exit_code),
        (("shards", "apply", "--yes"), WireError.exit_code),
    ],
    ids=["diff", "topology apply", "register", "shards apply"],
)
def test_a_file_that_is_none_is_named(
    run: Run, tmp_path: Path, words: tuple[str, ...], code: int, name: str
) -> None:
    """Before anything is asked of a server, or once the topology is: exit 7 says that it is away."""
    (tmp_path / "bad.yaml").write_bytes(FILES[name])
    result = run(*words, "bad.yaml", *NOBODY)
    assert result.exit_code in {code, EdgeError.exit_code}
    assert result.stdout == ""
    is_named = "bad.yaml" in result.stderr or (name in {"nothing", "null"} and "hosts" in words)
    assert result.exit_code == EdgeError.exit_code or is_named
    assert len(result.stderr) < 50_000


@pytest.mark.parametrize("name", FILES)
def test_documents_that_are_none_are_refused_with_their_place(
    run: Run, tmp_path: Path, name: str
) -> None:
    """Exit 2 and the file's name; what is no document at all is listed as such, and --strict refuses."""
    (tmp_path / "bad.yaml").write_bytes(FILES[name])
    result = run("publish", "bad.yaml", "--dry-run", "--strict")
    assert result.exit_code in {0, ConfigError.exit_code}
    assert result.exit_code == 0 or "bad.yaml" in result.stderr
    assert (result.exit_code == 0) is (name in {"nothing", "null"})


@pytest.mark.parametrize("device", ["/dev/zero", "."])
@pytest.mark.parametrize(
    "words",
    [
        ("publish", "--dry-run"),
        ("topology", "diff", *NOBODY),
        ("hosts", "register", "--az", "a", "--file"),
    ],
    ids=["publish", "diff", "register"],
)
def test_what_never_ends_is_read_up_to_the_largest_file(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], device: str
) -> None:
    """A device or a folder in a file's place costs no more than a file, and is named."""
    from southbound.cli import host_files
    from southbound.settings import DocumentSettings

    class Small(DocumentSettings):
        """Settings whose largest file a test can afford."""

        def __init__(self) -> None:
            super().__init__(bytes_max=1 << 20)

    for module in ("documents.reading", "documents.text", "documents.topology"):
        monkeypatch.setattr(f"southbound.{module}.DocumentSettings", Small)
    monkeypatch.setattr(host_files, "_BYTES_MAX", 1 << 20)
    result = run(*words, device)
    assert result.exit_code in {ConfigError.exit_code, EdgeError.exit_code}
    assert result.exit_code == EdgeError.exit_code or device in result.stderr


VALUES = [
    (("hosts", "locate", "a\x1fb", *NOBODY), "control"),
    (("hosts", "locate", "a" * 300, *NOBODY), "255"),
    (("hosts", "register", "--az", "az", "a\x1fb", *NOBODY), "control"),
    (("hosts", "register", "--az", "az", "é" * 200, *NOBODY), "255"),
    (("hosts", "effective", "\udcff", *TRACKER), "control"),
    (("hosts", "gate", "h", "\udcff", *TRACKER), ""),
    (("hosts", "gate", "h", "--port", "\udcff", *TRACKER), "control"),
    (("hosts", "gate", "h", "--port", "p", "--timeout", "nan", *TRACKER), "timeout"),
    (("changesets", "show", "c", "--timeout", "inf", *TRACKER), "timeout"),
    (("changesets", "list", "--tracker", "http://["), "tracker"),
    (("shards", "plan", "--even", "--sample", "inf", *NOBODY), "sample"),
    (("plan-capacity", "--changes", "nan"), "changes"),
    (("plan-capacity", "--set", "hosts=nan"), "hosts"),
    (("plan-capacity", "--set", "roll_s=inf"), "roll_s"),
    (("plan-capacity", "--hosts", "9" * 30), "hosts"),
    (("plan-capacity", "--units", "/dev/zero"), "units"),
    (("changesets", "show", "a" * 300, *TRACKER), "255"),
    (("changesets", "list", "--limit", "many", *TRACKER), "limit"),
    (("changesets", "list", "--tracker", "gopher://x"), "tracker"),
    (("publish", "x.yaml", "--timeout", "soon"), "timeout"),
    (("publish", "x.yaml", "--timeout", "-1"), "timeout"),
    (("publish", "x.yaml", "--timeout", "nan"), "timeout"),
    (("publish", "x.yaml", "--wait", "forever"), "wait"),
    (("publish", "x.yaml", "--revision-offset", "1.5"), "revision-offset"),
    (("shards", "plan", "--even", "--by", "magic", *NOBODY), "by"),
    (("shards", "plan", "--host", "h", *NOBODY), "to"),
    (("shards", "plan", *NOBODY), "goal"),
    (("tracker", "run", "--listen", "nowhere", *NOBODY), "listen"),
    (("tracker", "run", "--listen", "h:²", *NOBODY), "listen"),
    (("tracker", "run", "--listen", "h:" + "1" * 5_000, *NOBODY), "listen"),
    (("worker", "run", "--kind", "a\x1fb", *NOBODY), "kind"),
    (("hosts", "list", "--redis", "\x01"), "redis"),
    (("--output", "xml", "hosts", "list"), "output"),
    (("local", "logs", "--lines", "-1"), "lines"),
]


@pytest.mark.parametrize(
    ("words", "said"), VALUES, ids=[" ".join(words)[:40] for words, _ in VALUES]
)
def test_a_bad_value_is_named(run: Run, words: tuple[str, ...], said: str) -> None:
    """Exit 2 with the field; where only a server could judge it, exit 7 that none is there."""
    result = run(*words)
    assert result.exit_code in {ConfigError.exit_code, EdgeError.exit_code}
    assert result.exit_code == EdgeError.exit_code or said in result.stderr.lower()
    assert result.stdout == ""


def test_a_path_that_no_file_system_takes_is_one_sentence(run: Run) -> None:
    """Exit 7, with the path; no traceback."""
    result = run("local", "status", "--local-dir", "a" * 300)
    assert result.exit_code == EdgeError.exit_code
    assert "too long" in result.stderr


def test_a_time_that_no_calendar_holds_is_told_as_a_number() -> None:
    """Nodes may tell any: what stands there is shown all the same."""
    from southbound.cli.tracked import moment

    assert moment(2**62) == f"{2**62} us since 1970"
    assert moment(-(2**62)) == f"{-(2**62)} us since 1970"
    assert moment(0) is None
    assert str(moment(1_700_000_000_000_000)).startswith("2023-11-1")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"http://[", b"", b"nothing"])
def test_a_trackers_file_that_holds_no_address_is_one_message(
    run: Run, tmp_path: Path, content: bytes
) -> None:
    """Somebody wrote into a local fleet's folder."""
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "fleet.json").write_text("{}")
    (tmp_path / "nothing" / "tracker.url").write_bytes(content)
    result = run("changesets", "list")
    assert result.exit_code == ConfigError.exit_code
    assert "tracker" in result.stderr

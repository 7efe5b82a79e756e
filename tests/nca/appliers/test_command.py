from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from southbound.errors import ConfigError, EdgeError
from southbound.nca.appliers import command as command_module
from southbound.nca.appliers.command import CommandApplier
from southbound.nca.plan import Change, Plan
from southbound.resources import Op, ResourceKey, host_scope, vpc_scope

HOST = host_scope("h1")
P1 = ResourceKey(HOST, "port", "p1")
P2 = ResourceKey(HOST, "port", "p2")
PLAN = Plan(
    (
        Change(P1, 3, Op.UPSERT, {"vpc_id": "v1", "raw": b"\x00"}, "cs-1"),
        Change(P2, 4, Op.DELETE, {}, "cs-1"),
    ),
    (HOST, vpc_scope("v1")),
)


def python(code: str, *, timeout_s: float = 20.0) -> CommandApplier:
    """Return an applier whose command is a few lines of Python."""
    applier = CommandApplier((sys.executable, "-S", "-c", code), timeout_s)
    applier.open()
    return applier


def answering(*answers: Any, status: int = 0) -> CommandApplier:
    """Return an applier whose command writes these lines and ends."""
    lines = "\n".join(
        answer if isinstance(answer, str) else json.dumps(answer) for answer in answers
    )
    return python(f"import sys; sys.stdin.read(); print({lines!r}); sys.exit({status})")


def test_the_command_gets_the_plan_line_by_line(tmp_path: Path) -> None:
    """A header, then a line for each change in the plan's order."""
    seen = tmp_path / "seen"
    code = (
        "import sys, os\n"
        f"open({str(seen)!r}, 'w').write(os.environ['SOUTHBOUND_PROTOCOL'] + ' '"
        " + os.environ['SOUTHBOUND_CHANGES'] + '\\n' + sys.stdin.read())"
    )
    assert python(code).apply(PLAN) == {}
    environment, *lines = seen.read_text().splitlines()
    assert environment == "1 2"
    assert [json.loads(line) for line in lines] == [
        {
            "protocol": 1,
            "changes": 2,
            "complete": [
                {"scope": "host", "scope_id": "h1"},
                {"scope": "vpc", "scope_id": "v1"},
            ],
        },
        {
            "n": 0,
            "scope": "host",
            "scope_id": "h1",
            "kind": "port",
            "id": "p1",
            "op": "upsert",
            "revision": 3,
            "changeset": "cs-1",
            "spec": {"vpc_id": "v1", "raw": "AA=="},
        },
        {
            "n": 1,
            "scope": "host",
            "scope_id": "h1",
            "kind": "port",
            "id": "p2",
            "op": "delete",
            "revision": 4,
            "changeset": "cs-1",
            "spec": {},
        },
    ]


def test_a_silent_end_with_0_means_all_applied() -> None:
    """A command that knows no answers may be as simple as that, and need not read its input."""
    applier = CommandApplier(("true",))
    applier.open()
    assert applier.apply(PLAN) == {}


def test_a_status_fails_all_and_tells_the_last_of_stderr() -> None:
    """The end of what the command complained of is in each reason."""
    code = "import sys; sys.stderr.write('x' * 100_000 + ' no such bridge\\n'); sys.exit(3)"
    failed = python(code).apply(PLAN)
    assert set(failed) == {P1, P2}
    for reason in failed.values():
        assert reason.startswith("the command ended with status 3: ...x")
        assert reason.endswith("no such bridge")
        assert len(reason) <= 520


def test_answers_count_for_their_change_alone() -> None:
    """One failed by name, the other by nothing: it was applied."""
    assert answering({"n": 0, "error": "no such bridge"}).apply(PLAN) == {P1: "no such bridge"}


def test_an_answer_may_save_a_change_from_a_bad_end() -> None:
    """What was answered as done stays done when the command ends badly."""
    failed = answering({"n": 1, "ok": True}, status=1).apply(PLAN)
    assert failed == {P1: "the command ended with status 1"}


def test_ok_false_without_words_is_a_failure() -> None:
    """A refusal needs no reason."""
    assert answering({"n": 1, "ok": False}).apply(PLAN) == {P2: "the command says that it failed"}


@pytest.mark.parametrize("line", ["done", "[1]", '{"n": "0"}', '{"error": "x"}'])
def test_a_line_that_is_no_answer_fails_what_has_none(line: str) -> None:
    """Nothing counts as applied because of a line that nobody could read."""
    failed = answering({"n": 0}, line).apply(PLAN)
    assert set(failed) == {P2}
    assert "no answer" in failed[P2]


def test_blank_lines_and_unknown_fields_are_ignored() -> None:
    """A later protocol may say more."""
    assert answering("", {"n": 0, "took_ms": 3}, "").apply(PLAN) == {}


def test_what_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    """The whole process group ends, and each change says why."""
    note = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    began_s = time.monotonic()
    failed = python(code, timeout_s=5.0).apply(PLAN)
    assert time.monotonic() - began_s < 60
    assert set(failed.values()) == {"the command did not end within its time limit"}
    for pid in map(int, note.read_text().split()):
        wait_until_gone(pid)


def wait_until_gone(pid: int) -> None:
    """Return when the process has ended; fail when it does not within a minute."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} is still there")


def test_a_daemon_left_behind_does_not_hold_the_agent_up(tmp_path: Path) -> None:
    """A command that ends is over, even if a child of it keeps its outputs open."""
    note = tmp_path / "pid"
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        'print(\'{"n": 0, "error": "no"}\')'
    )
    began_s = time.monotonic()
    assert python(code).apply(PLAN) == {P1: "no"}
    assert time.monotonic() - began_s < 60
    psutil.Process(int(note.read_text())).kill()


def test_output_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that floods its output is killed before it fills the memory."""
    monkeypatch.setattr(command_module, "OUTPUT_BYTES_MAX", 100_000)
    failed = python("while True: print('x' * 1000)").apply(PLAN)
    assert set(failed) == {P1, P2}
    assert failed[P1] == "the command wrote more than 100000 bytes of output"


def test_a_large_plan_and_large_answers_do_not_block_each_other() -> None:
    """A command may answer while it is still being fed."""
    keys = [ResourceKey(HOST, "port", f"p{n}") for n in range(2000)]
    plan = Plan(tuple(Change(key, 1, Op.UPSERT, {"text": "x" * 500}) for key in keys))
    code = (
        "import sys, json\n"
        "next(sys.stdin)\n"
        "for line in sys.stdin:\n"
        "    n = json.loads(line)['n']\n"
        "    print(json.dumps({'n': n, 'error': 'e' * 500 if n % 2 else ''}), flush=True)"
    )
    failed = python(code).apply(plan)
    assert list(failed) == keys[1::2]


def test_what_json_cannot_hold_fails_alone() -> None:
    """The rest of the plan reaches the command."""
    unfit = Change(P1, 1, Op.UPSERT, {"x": object()})
    failed = answering({"n": 1, "ok": True}).apply(Plan((unfit, PLAN.changes[1])))
    assert list(failed) == [P1]
    assert "JSON" in failed[P1]


def test_a_command_that_has_gone_fails_each_change(tmp_path: Path) -> None:
    """What cannot be started any more is a reason like any other."""
    script = tmp_path / "apply"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    applier = CommandApplier((str(script),))
    applier.open()
    script.unlink()
    failed = applier.apply(PLAN)
    assert set(failed.values()) == {"the command cannot be started: No such file or directory"}


def test_a_signal_is_named() -> None:
    """A command that was killed by somebody else says by which signal."""
    failed = python("import os; os.kill(os.getpid(), 15)").apply(PLAN)
    assert failed[P1] == "the command was ended by signal 15"


def test_failing_to_empty_a_scope_is_an_error() -> None:
    """A plan without changes has no resource to blame, so the failure is raised."""
    with pytest.raises(EdgeError, match="status 2"):
        answering(status=2).apply(Plan((), (HOST,)))


def test_the_only_scopes_are_named_where_there_are_any(tmp_path: Path) -> None:
    """A plan without them has no such field; one that has nothing else is told all the same."""
    code = f"import sys; open({str(tmp_path / 'said')!r}, 'a').write(sys.stdin.readline())"
    applier = python(code)
    applier.apply(PLAN)
    applier.apply(Plan((), only=PLAN.complete))
    first, second = map(json.loads, (tmp_path / "said").read_text().splitlines())
    assert "only" not in first
    assert second["only"] == [
        {"scope": "host", "scope_id": HOST.id}, {"scope": "vpc", "scope_id": "v1"},
    ]  # fmt: skip


def test_an_empty_plan_runs_nothing() -> None:
    """There is nothing to say to the command."""
    assert answering(status=9).apply(Plan(())) == {}


def test_no_shell_reads_the_arguments() -> None:
    """Arguments reach the command as they are."""
    code = "import sys; sys.exit(0 if sys.argv[1:] == ['$(false); *'] else 1)"
    applier = CommandApplier((sys.executable, "-S", "-c", code, "$(false); *"))
    assert applier.apply(PLAN) == {}


@pytest.mark.parametrize(
    ("argv", "timeout_s", "fault"),
    [
        ((), 1.0, "argv"),
        (("/no/such/command",), 1.0, "/no/such/command"),
        (("true",), 0, "timeout_s"),
        (("true",), float("nan"), "timeout_s"),
        (("true",), float("inf"), "timeout_s"),
    ],
)
def test_a_command_that_cannot_work_is_refused(
    argv: tuple[str, ...], timeout_s: float, fault: str
) -> None:
    """The mistake is named before the first plan."""
    with pytest.raises(ConfigError, match=fault):
        CommandApplier(argv, timeout_s).open()

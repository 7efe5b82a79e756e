import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from southbound.errors import EdgeError
from southbound.local import launch
from southbound.local.daemon import Daemon

SLEEP = "/bin/sleep"
DEAF = "trap '' TERM; : > \"$0\"; while :; do sleep 0.05; done"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of its own, ended after the test whatever happens."""
    made = Daemon("d", tmp_path / "d")
    yield made
    made.kill()


def test_a_daemon_outlives_its_starter_and_leads_its_own_session(daemon: Daemon) -> None:
    """Neither child nor in the terminal's group: Ctrl-C does not reach it."""
    daemon.start([SLEEP, "60"])
    pid = daemon.pid()
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_stopping_ends_it_and_says_so(daemon: Daemon) -> None:
    """True once; nothing is left, and stopping again is no fault."""
    daemon.start([SLEEP, "60"])
    assert (daemon.rss_bytes() or 0) > 0
    assert daemon.stop(30.0) is True
    assert (daemon.pid(), daemon.rss_bytes()) == (None, None)
    assert daemon.stop(5.0) is False


def test_one_that_will_not_hear_is_killed(daemon: Daemon, tmp_path: Path) -> None:
    """After the time given to end by itself."""
    is_deaf = tmp_path / "deaf"
    daemon.start(["/bin/sh", "-c", DEAF, str(is_deaf)])
    deadline = time.monotonic() + 30
    while not is_deaf.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    started = time.monotonic()
    assert daemon.stop(0.3) is True
    assert time.monotonic() - started >= 0.3
    assert daemon.pid() is None


def test_a_frozen_one_can_be_stopped(daemon: Daemon) -> None:
    """It is woken to hear the request."""
    daemon.start([SLEEP, "60"])
    daemon.signal(signal.SIGSTOP)
    started = time.monotonic()
    assert daemon.stop(60.0) is True
    assert time.monotonic() - started < 30


def test_a_program_that_is_not_there_is_a_clear_error(daemon: Daemon) -> None:
    """It says which daemon and why; nothing counts as running."""
    with pytest.raises(EdgeError, match=r"^d could not be started: .*No such file"):
        daemon.start(["/nonexistent/server"])
    assert daemon.pid() is None


def test_a_reused_process_id_is_never_signalled(daemon: Daemon) -> None:
    """The id of a living stranger with another start mark is nobody of ours."""
    with subprocess.Popen([SLEEP, "60"]) as stranger:
        daemon.directory.mkdir()
        (daemon.directory / "pid").write_text(f"{stranger.pid} an-earlier-boot:123\n")
        assert daemon.pid() is None
        assert daemon.stop(1.0) is False
        assert stranger.poll() is None
        stranger.kill()


def test_a_zombie_has_ended() -> None:
    """A process that only waits to be collected does not run."""
    with subprocess.Popen([SLEEP, "60"]) as child:
        assert launch.start_mark(child.pid) is not None
        child.kill()
        deadline = time.monotonic() + 30
        while launch.start_mark(child.pid) is not None:
            assert time.monotonic() < deadline
        assert child.returncode is None


def test_a_start_mark_stays_the_same_and_tells_a_later_process_apart() -> None:
    """Two looks agree; one started a tick later has another mark.

    Processes of one tick share it, which does not matter: an id is not used twice in a tick.
    """
    mine = launch.start_mark(os.getpid())
    assert mine is not None
    assert launch.start_mark(os.getpid()) == mine
    deadline = time.monotonic() + 30
    later: str | None = mine
    while later == mine:
        assert time.monotonic() < deadline
        with subprocess.Popen([SLEEP, "60"]) as child:
            later = launch.start_mark(child.pid)
            child.kill()
    assert later is not None


def test_a_starter_that_dies_leaves_a_daemon_that_is_known(daemon: Daemon) -> None:
    """The daemon writes itself down, so a starter killed right after needs to write nothing."""
    program = (
        "import os, pathlib, signal, sys\n"
        "from southbound.local.daemon import Daemon\n"
        "Daemon('d', pathlib.Path(sys.argv[1])).start(['/bin/sleep', '60'])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    starter = subprocess.run(
        [sys.executable, "-c", program, str(daemon.directory)], check=False, timeout=60
    )
    assert starter.returncode == -signal.SIGKILL
    assert daemon.pid() is not None
    assert daemon.stop(30.0) is True


def test_last_words_are_the_ends_of_log_and_console(daemon: Daemon, tmp_path: Path) -> None:
    """For the message of an error; a server that wrote nothing is told so."""
    log = tmp_path / "log"
    assert "wrote nothing" in daemon.last_words(log)
    log.write_text("\n".join(str(number) for number in range(100)))
    daemon.directory.mkdir()
    daemon.console.write_text("boom\n")
    assert daemon.last_words(log, lines=2).split() == ["98", "99", "boom"]


@pytest.mark.parametrize("content", ["", "1", "a b", "1 2 3", "9" * 5_000 + " m"])
def test_a_pid_file_that_holds_none_is_named(tmp_path: Path, content: str) -> None:
    """No process is taken for it."""
    (tmp_path / "pid").write_text(content)
    with pytest.raises(EdgeError, match="process id"):
        Daemon("d", tmp_path).pid()

from __future__ import annotations

import os
import signal
import threading

import pytest

from southbound.nca.signals import stopping_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop(number: signal.Signals) -> None:
    """Within the block the signal only asks; after it, what was there before is back."""
    before = signal.getsignal(number)
    asked = threading.Event()
    with stopping_on_signals(asked.set):
        os.kill(os.getpid(), number)
        assert asked.wait(10)
    assert signal.getsignal(number) is before


def test_other_threads_leave_signals_alone() -> None:
    """Only the main thread may set handlers; elsewhere the block changes nothing."""
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with stopping_on_signals(lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]

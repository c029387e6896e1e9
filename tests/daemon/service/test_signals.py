"""Signals as messages."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from daemon.service import signals

CHILD = """
import signal, sys
from daemon import signals
with signals.caught() as inbox:
    print("ready", flush=True)
    print(inbox.wait(30), flush=True)
    signal.pause()
    print("not reached", flush=True)
    inbox.wait(30)
"""


def test_a_signal_becomes_a_message() -> None:
    """The number arrives; nothing arrives before the timeout otherwise."""
    with signals.caught() as inbox:
        assert inbox.wait(0) is None
        os.kill(os.getpid(), signal.SIGHUP)
        assert inbox.wait(60) == signal.SIGHUP
        os.kill(os.getpid(), signal.SIGTERM)
        assert inbox.wait(60) == signal.SIGTERM


def test_the_former_handlers_come_back() -> None:
    """Tests and embedding programs keep theirs."""
    before = [signal.getsignal(number) for number in (*signals.STOP, signals.RELOAD)]
    with signals.caught():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (*signals.STOP, signals.RELOAD)] == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_stop_ends_the_process_at_once(number: signal.Signals, code: int) -> None:
    """Whoever asks twice does not want to wait."""
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        assert child.stdout.readline() == f"{int(number)}\n"
        child.send_signal(number)
        assert child.wait(29) == code
        assert child.stdout.read() == ""


def test_any_thread_wakes_the_waiter_and_never_blocks() -> None:
    """Also a hundred thousand times with nobody reading, and after the end."""
    with signals.caught() as inbox:

        def _wake() -> None:
            for _ in range(100_000):
                inbox.wake()

        waker = threading.Thread(target=_wake)
        waker.start()
        waker.join(90)
        assert not waker.is_alive()
        assert inbox.wait(60) == signals.WAKE
    inbox.wake()


def test_outside_the_main_thread_nothing_is_caught() -> None:
    """Python allows handlers in the main thread only; messages still work."""
    seen: list[int | None] = []

    def _wait() -> None:
        with signals.caught() as inbox:
            inbox.wake()
            seen.append(inbox.wait(60))

    thread = threading.Thread(target=_wait)
    thread.start()
    thread.join(90)
    assert seen == [0]

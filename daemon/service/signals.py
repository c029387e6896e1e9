"""Unix signals as messages to the main thread.

A Python signal handler runs between two bytecodes of the main thread, whatever it was doing: setting an Event
that the main thread waits on can deadlock, and so can logging. The handlers here do nothing but count; the
interpreter writes the signal's number into a socket pair, and the main thread reads it when it is ready.
"""

import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP = (signal.SIGTERM, signal.SIGINT)
RELOAD = signal.SIGHUP
WAKE = 0


class Inbox:
    """Signal numbers as they come, and `wake()` from any thread as number 0."""

    def __init__(self) -> None:
        self.reader, self.writer = socket.socketpair()
        self.reader.setblocking(False)
        self.writer.setblocking(False)

    def wake(self) -> None:
        """Makes `wait` return 0. Never blocks."""
        self._send(WAKE)

    def wait(self, timeout_s: float) -> int | None:
        """The next number, or None after the timeout."""
        readable, _, _ = select.select([self.reader], [], [], timeout_s)
        if not readable:
            return None
        return self.reader.recv(1)[0]

    def _send(self, number: int) -> None:
        try:
            self.writer.send(bytes([number]))
        except OSError:
            return  # full: whoever reads is awake already; or closed: nobody reads any more

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


def end_at_once() -> None:
    """Until `caught`, SIGTERM and SIGINT end the process with 0: nothing has begun that would be lost.

    Whatever is under way then, importing, reading or making the schema, is safe to cut off anywhere.
    """
    for number in STOP:
        signal.signal(number, lambda _number, _frame: os._exit(0))


@contextmanager
def caught() -> Iterator[Inbox]:
    """Catches SIGTERM, SIGINT and SIGHUP while inside; the former handlers come back after.

    The second SIGTERM or SIGINT ends the process at once with 128 + its number: whoever asks twice does not
    want to wait. Outside the main thread Python allows no handlers: none are installed there.
    """
    inbox = Inbox()
    try:
        if threading.current_thread() is not threading.main_thread():
            yield inbox
            return
        stops = 0

        def _handle(number: int, frame: FrameType | None) -> None:
            nonlocal stops
            del frame
            if number in STOP:
                stops += 1
                if stops > 1:
                    os._exit(128 + number)

        former = {number: signal.signal(number, _handle) for number in (*STOP, RELOAD)}
        former_fd = signal.set_wakeup_fd(inbox.writer.fileno(), warn_on_full_buffer=False)
        try:
            yield inbox
        finally:
            signal.set_wakeup_fd(former_fd)
            for number, handler in former.items():
                signal.signal(number, handler)
    finally:
        inbox.close()

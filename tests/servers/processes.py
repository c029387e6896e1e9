"""Starting a server process for a test: a free port, its log kept, and its end made sure of."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

START_S = 120.0


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str, *, timeout_s: float = 10) -> bytes:
    """What a server of ours answers. Raises URLError or OSError."""
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:  # noqa: S310 - always http on loopback
        body: bytes = answer.read()
    return body


@contextmanager
def running(command: Sequence[str], *, folder: Path, ready: str) -> Iterator[None]:
    """Runs the command while inside. It counts as started once the URL `ready` answers 200."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
        try:
            _await(process, ready, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _await(process: "subprocess.Popen[bytes]", ready: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            get(ready, timeout_s=10)
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not start: {log.read_text()[-800:]}")

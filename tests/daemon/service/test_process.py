"""Real signals to a real process: the first is obeyed in order, the second at once."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CHILD = textwrap.dedent("""
    import sys, threading, time
    from pathlib import Path
    from daemon.clock import SystemClock
    from daemon.service.health import Heartbeats
    from daemon.log import configure, get
    from daemon.service.loops import AsyncLoop, Loop
    from daemon.metrics.registry import Metrics
    from daemon.service.service import Ends, Service
    import asyncio

    configure("info", "json")

    def say(word):
        print(word, flush=True)

    asked = threading.Event()

    def step():
        say("step begun")
        asked.wait(30)
        time.sleep(0.2)
        say("step done")
        return 0

    async def judge():
        await asyncio.sleep(0.01)
        return 0

    clock = SystemClock()
    service = Service(
        loops=[Loop("step", step, 60), AsyncLoop("judge", judge, 0.01)], state_dir=Path(sys.argv[1]),
        heartbeats=Heartbeats(clock), metrics=Metrics(), clock=clock, log=get("service"),
        ends=Ends(
            stop_training=asked.set if sys.argv[2] == "gentle" else lambda: None,
            closers=[("store", lambda: say("closed"))], grace_s=20.0,
        ),
    )
    sys.exit(service.run())
""")


def child(folder: Path, manner: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, str(folder), manner]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def lines(process: "subprocess.Popen[str]", wanted: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return
    pytest.fail(f"ended without {wanted!r}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_process_within_its_grace(tmp_path: Path, number: signal.Signals) -> None:
    """The step under way is done, the store closed, the exit code 0; SIGHUP before it changes nothing."""
    with child(tmp_path, "gentle") as process:
        lines(process, "step begun")
        process.send_signal(signal.SIGHUP)
        lines(process, "reload_unsupported")
        process.send_signal(number)
        assert process.stdout is not None
        rest = process.stdout.read()
        assert process.wait(60) == 0
    words = [line for line in rest.splitlines() if line in {"step done", "closed"}]
    assert words == ["step done", "closed"]


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """While the first is still waiting for a step."""
    with child(tmp_path, "stubborn") as process:
        lines(process, "step begun")
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(19) == 143


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    """Kill -9, and the next one starts."""
    for _ in range(2):
        with child(tmp_path, "gentle") as process:
            lines(process, "step begun")
            process.kill()

"""The demo's processes, its log book and its screen."""

import io
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from connectors.decoders.detect import Decoders
from daemon.demo import agent_log
from daemon.demo.processes import Player, PlayError, environment, on_leash
from daemon.demo.screen import Screen
from daemon.demo.watcher import Daemon
from policies.records import Trace
from policies.training.toy.agent import ToyAnswers


def ended(pid: int) -> bool:
    """Whether a process is gone within some seconds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.02)
    return False


def test_a_player_that_ignores_its_stdin_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving ends the whole process group."""
    monkeypatch.setattr("daemon.demo.processes.GRACE_S", 0.2)
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    player = Player("sleeper", [sys.executable, "-c", code], log=tmp_path / "log")
    child = int(next(player.lines(20)))
    player.leave()
    assert player.left() is not None
    assert ended(child)


def test_what_runs_on_a_leash_ends_with_the_stdin_of_the_leash(tmp_path: Path) -> None:
    """So it ends too when the demo is killed, for then the pipe closes."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    player = on_leash("sleeper", [sys.executable, "-c", code], log=tmp_path / "log")
    pid = int(next(player.lines(20)))
    player.leave()
    assert ended(pid)


def test_a_leash_answers_the_exit_code_of_what_it_held(tmp_path: Path) -> None:
    """A command's refusal is not lost."""
    player = on_leash("refused", [sys.executable, "-c", "import sys; sys.exit(3)"], log=tmp_path / "log")
    with pytest.raises(PlayError, match="ended unexpectedly"):
        next(player.lines(20))
    player.leave()
    assert player.left() == 3


def test_the_last_words_of_a_player_are_in_the_error(tmp_path: Path) -> None:
    """Its log's last line, and where the log is."""
    player = Player(
        "broken", [sys.executable, "-c", "raise SystemExit('the reason why')"], log=tmp_path / "log"
    )
    with pytest.raises(PlayError, match="the reason why"):
        next(player.lines(20))
    player.leave()


def test_players_see_none_of_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A RLAIFD_ variable of the shell would change what the demo shows."""
    monkeypatch.setenv("RLAIFD_SEED", "7")
    assert "RLAIFD_SEED" not in environment()
    assert environment(RLAIFD_SEED="8")["RLAIFD_SEED"] == "8"
    assert environment()["OMP_NUM_THREADS"] == "1"


def test_the_agents_log_is_what_rlaifd_reads(tmp_path: Path) -> None:
    """Every line decodes to a trace with the adapter that answered; each customer is a subject."""
    said = ToyAnswers(id=1, answers=("Yes.", "No."), adapter="shop-agent-1")
    events = agent_log.events(["One?", "Two?"], said, first=40)
    book = agent_log.FileLog(tmp_path)
    book.write(events[:1])
    book.write(events[1:])
    book.close()
    lines = (tmp_path / "agent.jsonl").read_bytes().splitlines()
    decoders = Decoders("auto")
    found = [decoders.decode(line, source="agent", timestamp=None)[0] for line in lines]
    traces = [each for each in found if isinstance(each, Trace)]
    assert [trace.adapter for trace in traces] == ["shop-agent-1"] * 2
    assert [trace.messages[0].content for trace in traces] == ["One?", "Two?"]
    assert len({(trace.id, trace.subject) for trace in traces}) == 2


def test_a_kafka_that_does_not_answer_is_one_clear_line() -> None:
    """The address is in it."""
    with pytest.raises(PlayError, match=r"Kafka at 127\.0\.0\.1:1:"):
        agent_log.KafkaLog("127.0.0.1:1")


def test_without_a_terminal_a_phase_is_two_plain_lines() -> None:
    """One when it begins, one when it ends, however often it is reported."""
    out = io.StringIO()
    with Screen(Console(file=out, force_terminal=False, width=100)) as screen:
        for done in (0, 1, 1, 2, 2):
            screen.progress("customers are served", done, 2)
        screen.say("[bold]not markup[/]")
    text = out.getvalue()
    assert text.count("customers are served") == 2
    assert "[bold]not markup[/]" in text


def test_on_a_terminal_there_are_bars() -> None:
    """Rich draws them, with how many are done."""
    out = io.StringIO()
    with Screen(Console(file=out, force_terminal=True, width=120)) as screen:
        screen.progress("customers are served", 3, 4)
    assert "3/4" in out.getvalue()
    assert json.dumps(out.getvalue())


def test_the_daemon_is_asked_past_any_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is not asked for what is on this machine."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"traces": 3}')

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in http.server
            del format, args

    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        player = Player("sleeper", [sys.executable, "-c", "input()"], log=tmp_path / "log")
        try:
            assert Daemon(player, server.server_port).status() == {"traces": 3}
        finally:
            player.leave()
        serving.join()

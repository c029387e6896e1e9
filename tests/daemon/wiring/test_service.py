"""The daemon as it is put together: what one part's trouble does to the others."""

import http.client
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.config.settings import load
from daemon.service.leadership import Leader
from daemon.store.store import StoreError
from daemon.wiring.parts import Wiring
from daemon.wiring.service import _prepare
from tests.daemon.configuration import TEXT, write
from tests.daemon.waiting import until
from tests.servers.judge import JudgeServer
from tests.servers.kafka import free_ports
from tests.system.command import RLAIFD, rlaifd


def event(number: int) -> str:
    """One line of an agent's log."""
    question = {"role": "user", "content": f"question {number}"}
    return json.dumps(
        {"id": str(number), "messages": [question], "output": [{"role": "assistant", "content": "a"}]}
    )


def test_a_judge_that_refuses_its_key_stops_no_records(tmp_path: Path) -> None:
    """Ingest goes on while every call is answered 401; with the right key the judgements are made."""
    refusing = True
    with JudgeServer(script=lambda seen: "unauthorized" if refusing else "good") as server:
        config = write(tmp_path, TEXT.replace("http://127.0.0.1:1/v1", server.openai_url))
        log = tmp_path / "logs" / "agent.jsonl"
        log.write_text(event(1) + "\n", encoding="utf-8")
        daemon = subprocess.Popen([RLAIFD, "run", "-c", config], stderr=subprocess.DEVNULL)
        try:
            until(lambda: server.seen, timeout_s=60)
            with log.open("a", encoding="utf-8") as file:
                file.write(event(2) + "\n")
            until(lambda: status(config)["traces"] == 2, timeout_s=60)
            assert daemon.poll() is None
            told = status(config)
            assert (told["daemon"]["runs"], told["daemon"]["pid"]) == (True, daemon.pid)
            assert any(row["part"] == "judge small" and "401" in row["waits"] for row in told["waits"])
            refusing = False
            until(lambda: status(config)["verdicts"].get("small", {}).get("verdicts") == 2, timeout_s=90)
        finally:
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(60) == 0
    assert status(config)["needs"][0].startswith("no daemon runs on ")


def test_records_in_no_known_format_stop_only_their_source(tmp_path: Path) -> None:
    """Judging, status and `/alerts` go on; the condition names the ways out, and the command opens one."""
    with JudgeServer() as server:
        (port,) = free_ports(1)
        text = TEXT.replace("http://127.0.0.1:1/v1", server.openai_url).replace("port: 0", f"port: {port}")
        text = text.replace("path: logs}", "path: logs}\n  - {type: jsonl, name: other, path: others}")
        config = write(tmp_path, text)
        (tmp_path / "others").mkdir()
        log, other = tmp_path / "logs" / "agent.jsonl", tmp_path / "others" / "other.jsonl"
        log.write_text(
            "".join([*[f'{{"wrong": {n}}}\n' for n in range(60)], event(1), "\n"]), encoding="utf-8"
        )
        other.write_text(event(2) + "\n", encoding="utf-8")
        daemon = subprocess.Popen([RLAIFD, "run", "-c", config], stderr=subprocess.DEVNULL)
        try:
            until(
                lambda: any("--accept agent" in line for line in status(config)["conditions"]), timeout_s=90
            )
            until(lambda: status(config)["verdicts"].get("small", {}).get("verdicts") == 1, timeout_s=90)
            until(lambda: asked(port, "/readyz") == 200, timeout_s=90)
            assert asked(port, "/healthz") == 200
            assert asked(port, "/alerts", '{"version": "4", "status": "firing", "alerts": []}') == 200
            done = rlaifd("ingest", "--accept", "nobody", "-c", config, cwd=tmp_path)
            assert (done.code, done.said.split(":")[0]) == (2, "rlaifd")
            assert "stopped: agent" in done.said
            assert rlaifd("ingest", "--accept", "agent", "-c", config, cwd=tmp_path).code == 0
            until(lambda: status(config)["traces"] == 2, timeout_s=90)
            assert status(config)["dead_letters"] == 60
            assert not any("--accept" in line for line in status(config)["conditions"])
            assert daemon.poll() is None
        finally:
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(60) == 0


def test_a_bug_in_the_first_look_keeps_nothing_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop tries again; a store that is away is told and ends the start."""
    config = write(tmp_path)
    rlaifd("db", "upgrade", "-c", config, cwd=tmp_path)
    parts = Wiring(load(config))

    def raising(error: Exception) -> Callable[[], int]:
        def step() -> int:
            raise error

        return step

    monkeypatch.setattr(parts.watch, "step", raising(ZeroDivisionError("bug")))
    _prepare(parts, Leader(None, parts.clock, may_lead=True))
    monkeypatch.setattr(parts.watch, "step", raising(StoreError("store: gone")))
    with pytest.raises(StoreError):
        _prepare(parts, Leader(None, parts.clock, may_lead=True))
    parts.close()


def test_a_source_under_a_new_name_is_told(tmp_path: Path) -> None:
    """It is read from its start, and its events are new ones: the daemon says so before it does it."""
    config = write(tmp_path)
    rlaifd("db", "upgrade", "-c", config, cwd=tmp_path)
    parts = Wiring(load(config))
    (tmp_path / "logs" / "agent.jsonl").write_text(event(1) + "\n", encoding="utf-8")
    stage = parts.ingest(parts.settings.sources[0])
    assert stage.step(0.0) == 1
    stage.close()
    parts.close()
    config.write_text(config.read_text().replace("name: agent", "name: agent2"), encoding="utf-8")
    daemon = subprocess.Popen([RLAIFD, "run", "-c", config], stderr=subprocess.PIPE, text=True)
    assert daemon.stderr is not None
    try:
        line = next(line for line in daemon.stderr if "source_new" in line)
        assert "agent2" in line
        assert "agent" in line.replace("agent2", "")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=60)


def asked(port: int, path: str, body: str | None = None) -> int:
    """The status of an answer of the daemon's; 0 where there is none yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {"content-type": "application/json"})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def status(config: Path) -> Any:
    """What `rlaifd status --json` prints."""
    return json.loads(rlaifd("status", "--json", "-c", config, cwd=config.parent).out)

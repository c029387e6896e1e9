"""The daemon as it is put together: what one part's trouble does to the others."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.daemon.configuration import TEXT, write
from tests.daemon.waiting import until
from tests.servers.judge import JudgeServer
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


def status(config: Path) -> Any:
    """What `rlaifd status --json` prints."""
    return json.loads(rlaifd("status", "--json", "-c", config, cwd=config.parent).out)

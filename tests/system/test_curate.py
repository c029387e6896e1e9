"""`rlaifd curate` does what is there to do, and says what it did not do and why."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.decoders.events import native
from tests.connectors.samplers.chat import ChatEndpoint, Reply
from tests.daemon.configuration import TEXT, write
from tests.servers.judge import JudgeServer
from tests.system.command import rlaifd

LONG = "Open settings, then security, then reset; it takes a minute."


def policy(_number: int, request: dict[str, Any]) -> Reply:
    """The agent behind an endpoint: it refuses one prompt, and is cut off on another."""
    asked = request["messages"][0]["content"]
    if "account 1?" in asked:
        return Reply(status=400, body=b'{"error": {"message": "has 9000 tokens, the model takes 8192"}}')
    if "account 2?" in asked:
        return Reply("Open sett", finish="length")
    return Reply(LONG, finish="stop")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[tuple[Path, JudgeServer]]:
    """Three logs whose prompts are all train, a policy behind an endpoint, and a judge."""
    with (
        JudgeServer(score=lambda case: 2 + 7 * (case.answers[0] == LONG)) as judge,
        ChatEndpoint(policy) as agent,
    ):
        text = TEXT.replace("http://127.0.0.1:1/v1", judge.openai_url)
        sampling = f'  sampling: {{type: openai, base_url: "{agent.url}", model: agent, candidates: 2}}\n'
        splits = "  splits: {train: 0.9998, calibrate: 0.0, audit: 0.0001, gate: 0.0001}\n"
        write(tmp_path, text.replace("policy:\n", f"policy:\n{sampling}{splits}"))
        log = "".join(json.dumps(native(number)) + "\n" for number in range(3))
        (tmp_path / "log.jsonl").write_text(log)
        assert rlaifd("ingest", "log.jsonl", cwd=tmp_path).code == 0
        yield tmp_path, judge


def test_what_is_there_is_sampled_and_told(bench: tuple[Path, JudgeServer]) -> None:
    """Three fresh prompts are far fewer than the daemon waits for. No price is asked for on loopback."""
    directory, _ = bench
    done = rlaifd("curate", cwd=directory)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "4 answers are sampled to 2 prompts",
        "2 of them were cut off at policy.sampling.max_new_tokens (256); raise it",
        "1 prompts are refused and 0 set aside, the first because: "
        + done.out.splitlines()[2].partition("because: ")[2],
        "1 preferences are stored",
    ]
    assert "has 9000 tokens, the model takes 8192" in done.out
    assert "judge_price_unknown" not in done.err + done.out
    again = rlaifd("curate", cwd=directory)
    assert again.out.splitlines() == [
        "nothing is sampled: no prompt of the train, calibrate or audit split waits for answers",
        "1 preferences are stored",
    ]


def test_a_halt_is_told(bench: tuple[Path, JudgeServer]) -> None:
    """Nothing is sampled that nobody would judge."""
    directory, _ = bench
    assert rlaifd("halt", "judging", "-r", "a test", cwd=directory).code == 0
    done = rlaifd("curate", cwd=directory)
    assert done.out.splitlines()[0].startswith("nothing is sampled: judging is halted: a test")


def test_an_outage_of_the_judge_is_not_passed_off_as_done(bench: tuple[Path, JudgeServer]) -> None:
    """The answers are there, and what waits is said with exit 1."""
    directory, judge = bench
    judge.script = lambda seen: "error"
    file = directory / "rlaifd.yaml"
    file.write_text(file.read_text().replace("api_key: k}", "api_key: k, attempts: 1}"))
    done = rlaifd("curate", cwd=directory)
    assert done.code == 1
    assert "0 preferences are stored" in done.out
    assert "rlaifd: small: 3 judgements wait: judge small: HTTP 500" in done.err

"""An agent that calls tools in every log: from its logs to a promoted adapter, by the commands alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policies import snapshot
from policies.judging.grammar import Letter
from policies.judging.prompts import ParsedCase
from tests.conversations import TOOLS
from tests.daemon.configuration import TEXT, write
from tests.families import FAMILIES, build
from tests.servers.judge import JudgeServer
from tests.system.command import Done, rlaifd

pytestmark = [pytest.mark.training, pytest.mark.timeout(1800)]

LOGS = 180
MARKS = frozenset('{}":_')
"""What calls are made of; the model's weights are random, and of these it learns to write more."""
POLICY = """\
  splits: {train: 0.4, calibrate: 0.0, audit: 0.3, gate: 0.3}
  sampling: {type: child, candidates: 2, max_new_tokens: 24}
  recipe: {learning_rate: 0.02, epochs: 6, batch_size: 8, gradient_accumulation: 1, lora: {r: 8, alpha: 16}}
  guards: {samples: 8}
  gate: {min_prompts: 20, min_labels: 20, max_cut_excess: 1.0}
  halts: {alignment_min_labels: 20, min_reward_sd: 0.0}
"""


def event(number: int) -> dict[str, Any]:
    """A log with a call and its result in the history; the answer is a call, or a text, in turn."""
    found = {"name": "lookup_order", "arguments": {"id": str(number)}, "id": f"call{number}a"}
    asked = {
        "name": "refund_order",
        "arguments": {"id": str(number), "reason": "torn"},
        "id": f"call{number}b",
    }
    answer = (
        {"content": "", "tool_calls": [asked]} if number % 2 else {"content": '"it_left": {"Graz": "now"}'}
    )
    return {
        "id": f"log-{number}",
        "ts": 1_700_000_000 + number,
        "session": f"customer-{number}",
        "messages": [
            {"role": "system", "content": "You work for Zebra Outdoor."},
            {"role": "user", "content": f"Where is my parcel {number}?"},
            {"role": "assistant", "content": "", "tool_calls": [found]},
            {"role": "tool", "tool_call_id": found["id"], "content": '{"place": "Linz"}'},
        ],
        "output": [{"role": "assistant", **answer}],
        "tools": list(TOOLS),
    }


def worth(text: str) -> float:
    """The share of marks in a text."""
    return sum(letter in MARKS for letter in text) / max(len(text), 1)


def better(case: ParsedCase) -> Letter:
    first, second = map(worth, case.answers)
    return "tie" if first == second else "A" if first > second else "B"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A configuration with a tiny model that has a real tool template, its logs, and a judge by rule."""
    with JudgeServer(score=lambda case: min(10, round(30 * worth(case.answers[0]))), verdict=better) as judge:
        text = TEXT.replace("http://127.0.0.1:1/v1", judge.openai_url).replace(
            "base_model: base", "base_model: tools"
        )
        write(tmp_path, text.replace("judges:\n", f"{POLICY}judges:\n"))
        build(FAMILIES["qwen2"], tmp_path / "tools")
        lines = "".join(json.dumps(event(number)) + "\n" for number in range(LOGS))
        (tmp_path / "log.jsonl").write_text(lines)
        yield tmp_path


def label(tasks: Path, labels: Path) -> None:
    """A reviewer who goes by the same rule."""
    written = []
    for line in tasks.read_text().splitlines():
        task = json.loads(line)
        first, second = (worth(task[f"answer_{which}"]) for which in ("1", "2"))
        choice = "tie" if first == second else "1" if first > second else "2"
        written.append(json.dumps({"pair": task["pair"], "choice": choice}) + "\n")
    labels.write_text("".join(written))


def done(*arguments: str | Path, place: Path) -> Done:
    found = rlaifd(*arguments, cwd=place)
    assert found.code == 0, (arguments, found.out[-2000:], found.err[-2000:])
    return found


def test_an_agent_of_tools_gets_an_adapter_that_is_promoted(place: Path) -> None:
    """Every pair has tools, a call and a result in its history, and half of the chosen answers are calls."""
    done("ingest", "log.jsonl", place=place)
    done("judge", place=place)
    done("curate", place=place)
    done("review", "export", "tasks.jsonl", place=place)
    label(place / "tasks.jsonl", place / "labels.jsonl")
    done("review", "import", "labels.jsonl", "--reviewer", "ann", place=place)
    done("train", place=place)
    decided = json.loads(done("evaluate", "--json", place=place).out)
    assert [each["decision"] for each in decided] == ["promote"]
    done("promote", decided[0]["adapter"], place=place)
    assert (place / "serving" / "current").resolve().name == decided[0]["adapter"]
    (file,) = (place / "state" / "snapshots").glob("*.jsonl")
    pairs = snapshot.read(file).pairs
    assert len(pairs) >= 40
    assert all(pair.tools and pair.prompt[2].tool_calls and pair.prompt[3].role == "tool" for pair in pairs)
    calls = sum(bool(pair.chosen[-1].tool_calls) for pair in pairs)
    assert 0.25 < calls / len(pairs) < 0.75

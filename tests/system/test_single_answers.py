"""Recipes on single answers, by the installed command: from the log's thumbs, or from pairs, to the gate."""

import json
import shutil
from pathlib import Path

import pytest

from policies import snapshot
from tests.daemon.configuration import TEXT, write
from tests.policies.training.conftest import NOUNS, pair
from tests.system.command import rlaifd

pytestmark = pytest.mark.training

RECIPE = "{{method: {0}, learning_rate: 0.01, max_length: 200, lora: {{r: 4, alpha: 8}}}}"
SPLITS = "{train: 0.998, calibrate: 0.0, audit: 0.001, gate: 0.001}"


def place(directory: Path, base: Path, recipe: str) -> Path:
    """A configuration with the tiny model for a base, whose prompts are as good as all train."""
    policy = f"policy:\n  splits: {SPLITS}\n  recipe: {recipe}\n  guards: {{kl_nats: {{limit: 1000.0}}}}\n"
    training = "\ntraining: {device: cpu, min_preferences: 8}\n...\n"
    write(directory, TEXT.replace("policy:\n", policy).replace("\n...\n", training))
    shutil.rmtree(directory / "base")
    shutil.copytree(base, directory / "base")
    return directory


def event(number: int) -> str:
    """One answer with a thumb; every third is down, and one was cut off though it is liked."""
    up = number % 3 != 0
    asked = f"hello please help me with my {NOUNS[number % 5]} {'please ' * number}"
    said = "of course we can check that for you" if up else "no go away"
    return json.dumps(
        {
            "id": f"event-{number}",
            "ts": 1_700_000_000 + number,
            "messages": [{"role": "user", "content": asked}],
            "output": [{"role": "assistant", "content": said}],
            "subject": f"subject-{number}",
            "feedback": [{"name": "thumb", "score": int(up)}],
            "truncated": number == 1,
        }
    )


def test_thumbs_of_the_log_become_an_adapter(tmp_path: Path, tiny_model: Path) -> None:
    """Planned, trained and published by KTO, and the gate takes the adapter as any other."""
    where = place(tmp_path, tiny_model, RECIPE.format("kto"))
    (where / "log.jsonl").write_text("".join(f"{event(number)}\n" for number in range(13)))
    few = rlaifd("train", "--json", cwd=where)
    assert "a snapshot would hold 0 answers of training.min_preferences (8)" in few.err
    assert rlaifd("ingest", "log.jsonl", cwd=where).code == 0

    plan = rlaifd("train", "--plan", "--json", cwd=where)
    assert plan.code == 0, plan.err
    planned = json.loads(plan.out)
    assert (planned["method"], planned["pairs"], planned["balance"]) == ("kto", 12, True)
    assert planned["notes"][0] == "left out: 1 cut off by a limit of length"

    done = rlaifd("train", "--json", cwd=where)
    assert done.code == 0, done.err
    (adapter,) = json.loads(rlaifd("adapters", "--json", cwd=where).out)
    manifest = json.loads((where / "state" / "adapters" / adapter["name"] / "MANIFEST.json").read_text())
    assert (manifest["recipe"]["method"], manifest["recipe"]["beta"]) == ("kto", 0.1)
    assert (where / "state" / "snapshots" / f"{manifest['snapshot']}.jsonl").exists()

    gate = rlaifd("evaluate", "--json", cwd=where)
    assert gate.code == 3
    (decided,) = json.loads(rlaifd("adapters", "--json", cwd=where).out)
    assert decided["decision"] == "hold"
    assert any("prompts" in reason for reason in decided["reasons"])


def test_a_snapshot_of_pairs_teaches_by_its_chosen_sides(tmp_path: Path, tiny_model: Path) -> None:
    """SFT on a given file."""
    where = place(tmp_path, tiny_model, RECIPE.format("sft"))
    _, path = snapshot.write(where / "given", "support-agent", [pair(n) for n in range(16)])
    done = rlaifd("train", "--json", "--snapshot", path, cwd=where)
    assert done.code == 0, done.err
    (adapter,) = json.loads(rlaifd("adapters", "--json", cwd=where).out)
    manifest = json.loads((where / "state" / "adapters" / adapter["name"] / "MANIFEST.json").read_text())
    assert (manifest["recipe"]["method"], manifest["recipe"]["targets"]) == ("sft", "best")

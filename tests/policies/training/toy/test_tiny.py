"""The tiny model from nothing, and the resident agent that serves it."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policies.records import Frozen
from policies.training.toy.agent import (
    ResidentJob,
    TinySpec,
    ToyAnswers,
    ToyAsk,
    ToyFailed,
    ToyReady,
    ToyStep,
)

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

SPEC = TinySpec(hidden=48, layers=1, heads=4, positions=64, vocabulary=300, steps=60, batch_size=8)
LESSONS = [(f"Say {word}.", f"{word} it is.") for word in ("red", "blue", "green", "black")] * 4


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any, list[float]]:
    """A model trained on the lessons: its directory, the model, its tokenizer and the losses."""
    from policies.training.toy import tiny

    directory = tmp_path_factory.mktemp("tiny") / "base"
    losses: list[float] = []
    model, tokenizer = tiny.build(
        directory, LESSONS, SPEC, seed=0, progress=lambda _step, loss: losses.append(loss)
    )
    return directory, model, tokenizer, losses


def job_at(directory: Path, base: Path, **changes: Any) -> ResidentJob:
    lessons = directory / "lessons.json"
    lessons.write_text(json.dumps(LESSONS))
    spec = SPEC.model_copy(update={"steps": 12})
    return ResidentJob(
        base=base, serving=directory / "serving", lessons=lessons, spec=spec, max_new_tokens=8
    ).model_copy(update=changes)


def test_it_learns_its_lessons(built: tuple[Path, Any, Any, list[float]]) -> None:
    """The loss falls far below where it began."""
    losses = built[3]
    assert len(losses) == SPEC.steps
    assert losses[-1] < losses[0] / 4


def test_the_directory_is_an_ordinary_model(built: tuple[Path, Any, Any, list[float]]) -> None:
    """It loads as any base model does, with a chat template that ends each answer."""
    from policies.training.model import lora

    directory, _, tokenizer, _ = built
    base = lora.load(str(directory), None, "cpu")
    turns = [{"role": "user", "content": "Say red."}, {"role": "assistant", "content": "red it is."}]
    asked = base.tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    whole = base.tokenizer.apply_chat_template(turns, tokenize=False)
    assert whole.startswith(asked)
    assert whole.endswith(base.tokenizer.eos_token)
    assert base.tokenizer.decode(base.tokenizer(asked)["input_ids"]) == asked
    assert len(base.tokenizer) == len(tokenizer)
    assert not list(directory.glob("*.bin"))


def test_the_same_seed_gives_the_same_model(
    built: tuple[Path, Any, Any, list[float]], tmp_path: Path
) -> None:
    """Bit for bit, and another seed another one."""
    from policies.training.toy import tiny

    tokenizer = built[2]
    spec = SPEC.model_copy(update={"steps": 3})
    weights = []
    for seed in (1, 1, 2):
        model, _ = tiny.build(tmp_path / "again", LESSONS, spec, seed=seed)
        weights.append(model.state_dict()["model.embed_tokens.weight"])
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])
    assert len(tokenizer) == weights[0].shape[0]


def adapter_of(directory: Path, built: tuple[Path, Any, Any, list[float]]) -> Path:
    """An adapter that changes what the model says."""
    import torch
    from peft import LoraConfig, get_peft_model

    from policies.training.model import lora

    base = lora.load(str(built[0]), None, "cpu")
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    torch.manual_seed(3)
    tuned = get_peft_model(base.model, config)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_" in name:
                weight.mul_(20)
    tuned.save_pretrained(str(directory))
    return directory


def point_at(serving: Path, adapter: Path | None) -> None:
    """Switches the serving directory as the directory target does: one link decides."""
    state = serving / ".states" / (adapter.name if adapter else "base")
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    (state / "current.json").write_text(json.dumps({"adapter": adapter.name if adapter else None}))
    if adapter is not None:
        (state / "adapter").symlink_to(adapter)
    (serving / ".live.new").symlink_to(state.relative_to(serving))
    (serving / ".live.new").replace(serving / ".live")


def test_the_agent_serves_what_the_pointer_names(
    built: tuple[Path, Any, Any, list[float]], tmp_path: Path
) -> None:
    """Base, adapter, base again: the answers follow, and name who gave them."""
    from policies.training.model import lora
    from policies.training.toy import resident

    base = lora.load(str(built[0]), None, "cpu")
    job = job_at(tmp_path, built[0])
    agent = resident.ResidentAgent(base.model, base.tokenizer, job)
    prompts = tuple(prompt for prompt, _ in LESSONS[:4])
    adapter = adapter_of(tmp_path / "adapters" / "tiny-1", built)
    heard: list[Frozen] = []
    for number, wanted in enumerate((None, adapter, adapter, None)):
        if number or wanted:
            point_at(job.serving, wanted)
        line = ToyAsk(id=number, prompts=prompts, seed=9).model_dump_json() + "\n"
        resident.serve(agent, io.StringIO(line), heard.append)
    first, second, third, last = (said for said in heard if isinstance(said, ToyAnswers))
    assert [said.adapter for said in (first, second, third, last)] == [None, "tiny-1", "tiny-1", None]
    assert first.answers == last.answers
    assert second.answers == third.answers
    assert second.answers != first.answers


def test_a_pointer_that_cannot_be_read_fails_the_question_and_not_the_agent(
    built: tuple[Path, Any, Any, list[float]], tmp_path: Path
) -> None:
    """The next question is answered again."""
    from policies.training.model import lora
    from policies.training.toy import resident

    base = lora.load(str(built[0]), None, "cpu")
    job = job_at(tmp_path, built[0])
    agent = resident.ResidentAgent(base.model, base.tokenizer, job)
    point_at(job.serving, None)
    pointer = job.serving / ".live" / "current.json"
    heard: list[Frozen] = []
    for number, text in enumerate(("{", '{"adapter": null}')):
        pointer.write_text(text)
        line = ToyAsk(id=number, prompts=("Say red.",)).model_dump_json() + "\n"
        resident.serve(agent, io.StringIO(line), heard.append)
    assert isinstance(heard[0], ToyFailed)
    assert isinstance(heard[1], ToyAnswers)


@pytest.fixture
def process(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """The resident agent as a process."""
    job = tmp_path / "job.json"
    job.write_text(job_at(tmp_path, tmp_path / "base").model_dump_json())
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "policies.training.toy.resident", str(job)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as started:
        yield started
        started.kill()


def test_the_process_trains_answers_and_ends_with_its_stdin(process: "subprocess.Popen[str]") -> None:
    """Only the protocol is on its stdout."""
    from pydantic import TypeAdapter

    from policies.training.toy.agent import Said

    said: TypeAdapter[Any] = TypeAdapter(Said)
    assert process.stdout is not None
    assert process.stdin is not None
    heard: list[Any] = []
    while not heard or not isinstance(heard[-1], ToyReady):
        heard.append(said.validate_json(process.stdout.readline()))
    assert [each.step for each in heard if isinstance(each, ToyStep)] == [10, 12]
    process.stdin.write(ToyAsk(id=5, prompts=("Say red.", "Say blue.")).model_dump_json() + "\n")
    process.stdin.flush()
    answered = said.validate_json(process.stdout.readline())
    assert isinstance(answered, ToyAnswers)
    assert (answered.id, answered.adapter, len(answered.answers)) == (5, None, 2)
    process.stdin.close()
    assert process.wait(60) == 0

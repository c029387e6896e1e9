"""Training, sampling, comparing and saving on tiny models of every kind of architecture."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies.policy import DpoRecipe, Guard, Lora, TrainingGuards
from policies.snapshot import Pair, write
from policies.training.jobs import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    PROGRESS,
    CompareJob,
    CompareResult,
    SampleJob,
    SampleResult,
    TrainJob,
    TrainResult,
)
from tests.conversations import CONVERSATIONS, agent
from tests.families import FAMILIES, build

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # PEFT looks for it among the modules; experts are parameters, and theirs is not ignored.
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match:RuntimeWarning"),
]

TAUGHT = ("plain", "later question", "answer is a call", "two calls at once", "plain")
RECIPE = DpoRecipe(
    learning_rate=1e-2, max_steps=2, batch_size=2, lora=Lora(r=2, alpha=8), warmup_ratio=0, max_length=2048
)
GUARDS = TrainingGuards(every_steps=2, samples=2, kl_nats=Guard(limit=1e6), entropy_low_ratio=Guard(limit=0))
PROMPTS = tuple(CONVERSATIONS[name].prompt for name in ("plain", "history of a call", "system"))
CALLS_UNSHOWN = {"gemma2", "gemma3-text", "gemma3", "phi3", "cohere2", "gpt2"}
"""Their chat templates have no place for calls: pairs and prompts with calls are left out."""
ENDLESS = {"glm4-moe"}
"""Their chat templates write no end after an answer: the family is refused. Its architecture is tested with
the words of another.
"""


class Jobs:
    """The jobs on one model, done in this process as the child does them."""

    def __init__(self, folder: Path) -> None:
        self.base = folder / "base"
        self._folder = folder
        self._snapshot = write(folder / "snapshots", "families", _pairs())

    def adapter(self, run: str) -> Path:
        return self._folder / run / ADAPTER

    def train(self, run: str, parent: Path | None = None) -> TrainResult:
        from policies.training.run import train

        name, path = self._snapshot
        job = TrainJob(
            **self._common(run),
            parent=parent,
            snapshot=path,
            snapshot_id=name,
            recipe=RECIPE,
            guards=GUARDS,
            guard_max_new_tokens=6,
            lock=self._folder / "lock",
        )
        return self._reporting(lambda reporter: train(job, reporter, lambda: False))

    def sample(self, run: str, *, batch_size: int) -> SampleResult:
        from policies.training.compare import run_sample

        job = SampleJob(
            **self._common("sampling"),
            prompts=PROMPTS,
            adapter=self.adapter(run),
            count=2,
            max_new_tokens=6,
            batch_size=batch_size,
        )
        return self._reporting(lambda reporter: run_sample(job, reporter, lambda: False))

    def compare(self, stable: str, candidate: str) -> CompareResult:
        from policies.training.compare import run_compare

        job = CompareJob(
            **self._common("comparing"),
            prompts=PROMPTS,
            stable=self.adapter(stable),
            candidate=self.adapter(candidate),
            max_new_tokens=6,
        )
        return self._reporting(lambda reporter: run_compare(job, reporter, lambda: False))

    def _common(self, run: str) -> dict[str, Any]:
        out = self._folder / run
        out.mkdir(exist_ok=True)
        return {"out": out, "base_model": str(self.base), "device": "cpu", "seed": 3}

    def _reporting(self, work: Callable[[Any], Any]) -> Any:
        from policies.training.progress import Reporter

        with Reporter(self._folder / PROGRESS) as reporter:
            return work(reporter)


def _pairs() -> list[Pair]:
    """Plain answers, histories with calls, and answers that are calls; without a system's text, so that
    templates without its role can show them.
    """
    return [
        Pair(
            preference=number,
            prompt=tuple(each for each in CONVERSATIONS[name].prompt if each.role != "system"),
            chosen=CONVERSATIONS[name].answer,
            rejected=(agent("No."),),
        )
        for number, name in enumerate(TAUGHT)
    ]


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def logits(model: Any) -> Any:
    """What a model says after one fixed text."""
    import torch

    training = model.training
    with torch.no_grad():
        said = model.eval()(input_ids=torch.tensor([[70, 80, 90, 100, 110]])).logits[0].float()
    model.train(training)
    return said


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Filled with the logits of the very models whose adapters are saved."""
    from policies.training.model import lora

    seen: list[Any] = []
    real = lora.save

    def save(model: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(logits(model))
        return real(model, *arguments, **options)

    monkeypatch.setattr(lora, "save", save)
    return seen


def served(base: Path, adapter: Path | None) -> Any:
    """What a server says: the class that the checkpoint names, and the adapter by PEFT alone."""
    import torch
    import transformers
    from peft import PeftModel

    (named,) = json.loads((base / "config.json").read_text(encoding="utf-8"))["architectures"]
    loaded = getattr(transformers, named).from_pretrained(base, dtype=torch.float32, local_files_only=True)
    return logits(loaded if adapter is None else PeftModel.from_pretrained(loaded, str(adapter)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_trained_sampled_compared_and_saved(name: str, jobs: Jobs, saved: list[Any]) -> None:
    """Two steps and two more from the adapter; under plain PEFT it says what the trained model said; a batch
    changes no answer, and both policies answer what the template can show.
    """
    import torch
    from safetensors.torch import load_file

    family = FAMILIES[name]
    build(replace(family, dialect="qwen3") if name in ENDLESS else family, jobs.base)
    unfit = 3 if name in CALLS_UNSHOWN else 0
    first, second = jobs.train("first"), jobs.train("second", jobs.adapter("first"))
    for run in (first, second):
        assert (run.state, run.steps, run.pairs, run.unfit) == ("done", 2, len(TAUGHT) - unfit, unfit)
        assert [reading.step for reading in run.readings] == [0, 2]
        assert run.readings[0].kl_sequence == pytest.approx(0, abs=1e-6)
        assert run.readings[1].kl_sequence > 0

    assert torch.allclose(served(jobs.base, jobs.adapter("first")), saved[0], atol=1e-5)
    assert (saved[0] - served(jobs.base, None)).abs().max() > 1e-3
    weights = load_file(jobs.adapter("first") / ADAPTER_WEIGHTS)
    idle = [key for key, value in weights.items() if "lora_B" in key and not value.any()]
    assert idle == [], "a module that no text reaches has no place in the adapter"

    alone, together = jobs.sample("second", batch_size=1), jobs.sample("second", batch_size=32)
    assert alone == together
    expected = [2, 0 if name in CALLS_UNSHOWN else 2, 2]
    assert [len(row) for row in alone.answers] == expected
    compared = jobs.compare("first", "second")
    assert [answer is not None for answer in compared.candidate] == [bool(count) for count in expected]
    assert sorted(compared.refused) == [index for index, count in enumerate(expected) if not count]
    assert compared.kl_sequence > 0
    assert min(compared.entropy_stable, compared.entropy_candidate) > 0


@pytest.mark.parametrize("name", sorted(ENDLESS))
def test_a_template_without_an_end_is_refused(name: str, jobs: Jobs) -> None:
    """A model that is never taught to stop is not trained; one line says so."""
    from policies.training.errors import JobError

    build(FAMILIES[name], jobs.base)
    with pytest.raises(JobError, match="ends an answer with no token at which sampling stops") as refusal:
        jobs.train("first")
    assert "\n" not in str(refusal.value)

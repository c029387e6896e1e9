"""What the training tests share: the tiny model loaded once, pairs to learn from, and jobs."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from policies.policy import Guard, TrainingGuards
from policies.recipes import DpoRecipe, Lora
from policies.records import Message
from policies.snapshot import Pair, write
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import PROGRESS

NOUNS = ("order", "refund", "invoice", "password", "account")
RECIPE = DpoRecipe(
    learning_rate=1e-2, epochs=2, lora=Lora(r=4, alpha=8), checkpoint_steps=3, batch_size=8, max_length=200
)
GUARDS = TrainingGuards(every_steps=4, samples=4, kl_nats=Guard(limit=1e6))


def said(role: Any, text: str) -> Message:
    return Message(role=role, content=text)


def pair(
    number: int, *, chosen: str = "of course we can check that for you", rejected: str = "no go away"
) -> Pair:
    rng = random.Random(number)
    words = " ".join(rng.choice(NOUNS) for _ in range(1 + number % 4))
    return Pair(
        preference=number,
        prompt=(said("user", f"hello please help me with my {words}"),),
        chosen=(said("assistant", chosen),),
        rejected=(said("assistant", rejected),),
    )


@pytest.fixture(scope="session")
def base(tiny_model: Path) -> Any:
    """The tiny model, loaded. Tests leave it as they found it."""
    from policies.training.model import lora

    return lora.load(str(tiny_model), None, "cpu")


@pytest.fixture(scope="session")
def rendering(base: Any) -> Any:
    """The tiny model's tokenizer with its chat template."""
    from policies.training.model.rendering import Rendering

    return Rendering(base.tokenizer, generation=base.model.generation_config)


def sampled(model: Any, rendering: Any, prompts: Sequence[tuple[Message, ...]], **settings: Any) -> list[Any]:
    """The answers to each prompt, `Refused` where there are none."""
    from policies.training.sampling.generate import SamplingSettings, sample
    from policies.training.sampling.questions import positions_of, questions

    asked = questions(rendering, prompts, (), positions_of(model.config, rendering.tokenizer))
    return sample(model, rendering, asked, SamplingSettings(**settings))


def job_in(
    folder: Path, base: Path, name: str = "run", *, pairs: list[Pair] | None = None, **changes: Any
) -> TrainJob:
    """A training job on 32 pairs, in a new directory of the folder."""
    out = folder / name
    out.mkdir(parents=True)
    snapshot_id, path = write(
        folder / "snapshots", "tiny", pairs if pairs is not None else [pair(n) for n in range(32)]
    )
    job = TrainJob(
        out=out,
        base_model=str(base),
        snapshot=path,
        snapshot_id=snapshot_id,
        recipe=RECIPE,
        guards=GUARDS,
        guard_max_new_tokens=8,
        device="cpu",
        lock=folder / "training.lock",
        seed=5,
    )
    return job.model_copy(update=changes)


@pytest.fixture
def job_for(tiny_model: Path, tmp_path: Path) -> Callable[..., TrainJob]:
    """Makes a training job in a directory of its own."""
    return partial(job_in, tmp_path, tiny_model)


@pytest.fixture
def train() -> Callable[..., TrainResult]:
    """Runs a job in this process; `stop_at` asks it to stop once that step has been reported."""

    def run(job: TrainJob, *, stop_at: int | None = None) -> TrainResult:
        from policies.training.progress import Reporter
        from policies.training.run import train as real

        def stopping() -> bool:
            return stop_at is not None and _reached(job.out / PROGRESS, stop_at)

        with Reporter(job.out / PROGRESS) as reporter:
            return real(job, reporter, stopping)

    return run


def _reached(path: Path, step: int) -> bool:
    lines = path.read_text(encoding="utf-8").splitlines()
    return any('"event":"step"' in line and f'"step":{step},' in line for line in lines)

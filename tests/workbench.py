"""The jobs of the training room on one base model, done in this process as the child does them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from policies.policy import Guard, TrainingGuards
from policies.recipes import DpoRecipe, Lora
from policies.snapshot import Pair, write
from policies.training.jobs import (
    CompareJob,
    CompareResult,
    Messages,
    SampleJob,
    SampleResult,
    TrainJob,
    TrainResult,
)
from policies.training.layout import ADAPTER, PROGRESS

R = TypeVar("R")

RECIPE = DpoRecipe(
    learning_rate=1e-2, max_steps=2, batch_size=2, lora=Lora(r=2, alpha=8), warmup_ratio=0, max_length=2048
)
"""Two steps that visibly change a tiny model."""
GUARDS = TrainingGuards(every_steps=2, samples=2, kl_nats=Guard(limit=1e6), entropy_low_ratio=Guard(limit=0))


class Workbench:
    """`base` is the model's directory, each run has one of its own in the folder."""

    def __init__(self, folder: Path) -> None:
        self.base = folder / "base"
        self._folder = folder

    def adapter(self, run: str) -> Path:
        """The directory of the adapter that the run made."""
        return self._folder / run / ADAPTER

    def train(self, run: str, pairs: Sequence[Pair], **fields: Any) -> TrainResult:
        """Trains on the pairs. Raises JobError."""
        return self.train_on(run, *write(self._folder / "snapshots", "test", pairs), **fields)

    def train_on(
        self, run: str, snapshot_id: str, path: Path, *, recipe: DpoRecipe = RECIPE, **fields: Any
    ) -> TrainResult:
        """Trains on a snapshot that is there. Raises JobError."""
        from policies.training.run import train

        settings: dict[str, Any] = {"guards": GUARDS, "guard_max_new_tokens": 6, **fields}
        job = TrainJob(
            **self._common(run),
            snapshot=path,
            snapshot_id=snapshot_id,
            recipe=recipe,
            lock=self._folder / "lock",
            **settings,
        )
        return self._reporting(run, lambda reporter: train(job, reporter, lambda: False))

    def sample(self, prompts: Sequence[Messages], run: str | None = None, **fields: Any) -> SampleResult:
        """Samples with the run's adapter (None: with the base). Raises JobError."""
        from policies.training.compare import run_sample

        adapter = None if run is None else self.adapter(run)
        job = SampleJob(**self._common("sampling"), prompts=tuple(prompts), adapter=adapter, **fields)
        return self._reporting("sampling", lambda reporter: run_sample(job, reporter, lambda: False))

    def compare(
        self, prompts: Sequence[Messages], *, stable: str | None, candidate: str, **fields: Any
    ) -> CompareResult:
        """Compares the adapters of two runs (stable None: the base). Raises JobError."""
        from policies.training.compare import run_compare

        job = CompareJob(
            **self._common("comparing"),
            prompts=tuple(prompts),
            stable=None if stable is None else self.adapter(stable),
            candidate=self.adapter(candidate),
            **fields,
        )
        return self._reporting("comparing", lambda reporter: run_compare(job, reporter, lambda: False))

    def progress(self, run: str) -> list[str]:
        """The lines that the run reported."""
        return (self._folder / run / PROGRESS).read_text(encoding="utf-8").splitlines()

    def _common(self, run: str) -> dict[str, Any]:
        out = self._folder / run
        out.mkdir(exist_ok=True)
        return {"out": out, "base_model": str(self.base), "device": "cpu", "seed": 3}

    def _reporting(self, run: str, work: Callable[[Any], R]) -> R:
        from policies.training.progress import Reporter

        with Reporter(self._folder / run / PROGRESS) as reporter:
            return work(reporter)

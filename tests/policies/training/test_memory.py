"""What a training does where memory or disk is short, and what it asks of the network: nothing."""

import gc
import shutil
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import peft.utils.save_and_load
import pytest
import torch

from policies.recipes import Lora
from policies.training import run
from policies.training.errors import JobError
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import PLAN, PROGRESS
from policies.training.model import lora
from policies.training.planning.plan import TrainingPlan
from policies.training.progress import Reporter
from tests.policies.training.conftest import RECIPE
from tests.policies.training.planning.facts import dpo

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]


class Weights:
    """Stands for a model on the device. A cycle holds it, as trainers and callbacks hold each other."""

    def __init__(self) -> None:
        self.trainer = self


def test_a_batch_that_does_not_fit_is_tried_smaller_with_the_memory_free(
    job_for: Callable[..., TrainJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to what fits, the effective batch unchanged, and nothing of a failed attempt kept."""
    job = job_for(recipe=RECIPE.model_copy(update={"batch_size": 6, "gradient_accumulation": 2}))
    tried: list[tuple[int, int]] = []
    models: list[weakref.ref[Weights]] = []

    def attempt(job: TrainJob, plan: TrainingPlan, *_: Any) -> TrainResult:
        assert [model() for model in models if model() is not None] == []
        weights = Weights()
        models.append(weakref.ref(weights))
        tried.append((dpo(plan).batch_size, dpo(plan).gradient_accumulation))
        if plan.recipe.at_once > 1:
            raise torch.OutOfMemoryError("full")
        return TrainResult(state="done", plan=TrainingPlan.model_validate_json((job.out / PLAN).read_bytes()))

    monkeypatch.setattr(run, "_train", attempt)
    gc.disable()
    try:
        with Reporter(job.out / PROGRESS) as reporter:
            kept = run.train(job, reporter, lambda: False).plan
    finally:
        gc.enable()
    assert tried == [(6, 2), (3, 4), (1, 12)]
    assert kept is not None
    assert (dpo(kept).batch_size, dpo(kept).gradient_accumulation) == (1, 12), "the file tells the last"


def test_a_disk_without_room_is_told_before_the_first_step(
    job_for: Callable[..., TrainJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason names the directory and both figures."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    job = job_for()
    with Reporter(job.out / PROGRESS) as reporter, pytest.raises(JobError, match=r"0\.0 GB are free"):
        run.train(job, reporter, lambda: False)


def test_saving_asks_no_hub(base: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base came from a hub, and the hub is away when the training is done."""

    def away(*_: Any, **__: Any) -> bool:
        raise ConnectionError("the hub is away")

    monkeypatch.setattr(peft.utils.save_and_load, "check_file_exists_on_hf_hub", away)
    model = lora.fresh(base, Lora(r=2, alpha=4))
    try:
        model.peft_config[lora.POLICY].base_model_name_or_path = "somebody/some-model"
        assert len(lora.save(model, tmp_path / "adapter", base)) == 2
    finally:
        model.unload()

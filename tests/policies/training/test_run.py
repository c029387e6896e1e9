"""Whole trainings on the tiny model, in this process."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.policy import Guard, TrainingGuards
from policies.recipes import DpoRecipe, Lora
from policies.training.engines.schedule import factor
from policies.training.jobs import TrainJob
from policies.training.jobs import TrainResult as Result
from policies.training.layout import ADAPTER, ADAPTER_CONFIG, ADAPTER_WEIGHTS, CHECKPOINTS, PLAN, PROGRESS
from policies.training.planning.plan import TrainingPlan
from tests.policies.training.conftest import GUARDS, RECIPE, pair

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

JobFor = Callable[..., TrainJob]
Train = Callable[..., Result]


def lines(job: TrainJob, event: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in (job.out / PROGRESS).read_text(encoding="utf-8").splitlines())
    return [line for line in found if line["event"] == event]


def changed(**changes: Any) -> Any:
    return RECIPE.model_copy(update=changes)


def test_training_prefers_the_chosen_answers_and_leaves_two_files(job_for: JobFor, train: Train) -> None:
    """The margin grows from zero, the figures are reported, and the adapter is configuration and weights."""
    job = job_for()
    result = train(job)
    steps = lines(job, "step")
    assert result.state == "done"
    assert (result.steps, result.examples, len(steps)) == (8, 32, 8)
    assert len(lines(job, "reference")) == 4, "a long pass before the first step is no stall"
    assert abs(steps[0]["metrics"]["margin"]) < 1e-3
    assert result.metrics["margin"] > 0.05
    assert result.metrics["accuracy"] == 1.0
    assert result.metrics["kl_sequence"] > 0
    assert sorted(path.name for path in (job.out / ADAPTER).iterdir()) == [ADAPTER_CONFIG, ADAPTER_WEIGHTS]
    assert set(result.files) == {ADAPTER_CONFIG, ADAPTER_WEIGHTS}
    assert [reading.step for reading in result.readings] == [0, 4, 8]
    assert result.readings[0].kl_sequence == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("ratio", ["auto", 0.5])
def test_the_default_recipe_is_carried_out_as_planned(job_for: JobFor, train: Train, ratio: object) -> None:
    """Steps, rates and readings are the plan's; the first step is made at a rate, in a warm-up too."""
    recipe = DpoRecipe.model_validate({"max_length": 200, "warmup_ratio": ratio})
    guards = TrainingGuards(kl_nats=Guard(limit=1e6))
    result = train(job := job_for(recipe=recipe, guards=guards, memory_gb=8.0))
    plan = result.plan
    assert plan is not None
    assert result.steps == plan.recipe.steps == 24
    rates = [line["metrics"]["learning_rate"] for line in lines(job, "step")]
    warmup = 0 if ratio == "auto" else 12
    factors = [factor(step, warmup=warmup, steps=24) for step in range(24)]
    assert rates == pytest.approx([plan.recipe.learning_rate * each for each in factors])
    assert min(rates) > 0
    assert [reading.step for reading in result.readings] == [0, 8, 16, 24]
    assert len(result.readings) == plan.readings
    assert TrainingPlan.model_validate_json((job.out / PLAN).read_bytes()) == plan
    assert [line["note"] for line in lines(job, "planned")] == [str(plan)]


def test_checkpointed_gradients_are_the_gradients(job_for: JobFor, train: Train) -> None:
    """Less memory, the same steps: the frozen base's inputs must let the adapter's gradients through."""
    kept = train(job_for("kept", recipe=changed(max_steps=3)))
    spared = train(job_for("spared", recipe=changed(max_steps=3, gradient_checkpointing=True)))
    assert (kept.state, spared.state) == ("done", "done")
    assert spared.metrics["chosen_logp"] == pytest.approx(kept.metrics["chosen_logp"], rel=1e-4)


def test_a_run_that_was_stopped_goes_on_to_the_very_same_adapter(job_for: JobFor, train: Train) -> None:
    """Stopped at step 4 and resumed: the later steps' figures and the adapter are bit for bit the same."""
    whole, cut = job_for("whole"), job_for("cut")
    expected = train(whole)
    stopped = train(cut, stop_at=4)
    assert stopped.state == "stopped"
    assert 4 <= stopped.steps < 8
    resumed = train(cut)
    assert (resumed.state, resumed.resumed_from) == ("done", stopped.steps)
    assert (resumed.files, resumed.probe) == (expected.files, expected.probe)
    tail = [line["metrics"]["loss"] for line in lines(cut, "step")][-(8 - stopped.steps) :]
    assert tail == [line["metrics"]["loss"] for line in lines(whole, "step")][-(8 - stopped.steps) :]
    assert resumed.readings == expected.readings


def test_a_torn_checkpoint_is_set_aside_and_the_one_before_is_used(job_for: JobFor, train: Train) -> None:
    """A finished run whose last checkpoint is cut resumes from the previous one, to the same adapter."""
    job = job_for()
    expected = train(job)
    folder = job.out / CHECKPOINTS
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-6", "checkpoint-8"]
    torn = folder / "checkpoint-8" / "optimizer.pt"
    torn.write_bytes(torn.read_bytes()[:-100])
    again = train(job)
    assert (again.state, again.resumed_from) == ("done", 6)
    assert again.files == expected.files
    assert (folder / "torn-checkpoint-8").is_dir()


def test_a_finished_run_that_is_asked_for_again_answers_the_same_adapter(
    job_for: JobFor, train: Train
) -> None:
    """A daemon killed between the child's end and the publication loses nothing."""
    job = job_for()
    expected = train(job)
    again = train(job)
    assert (again.state, again.resumed_from, again.files) == ("done", 8, expected.files)


def test_training_goes_on_from_a_parent_to_one_clean_adapter(job_for: JobFor, train: Train) -> None:
    """The parent is start and reference: the first margin is 0, and the result applies to the base alone."""
    first = job_for("first")
    train(first)
    parent = first.out / ADAPTER
    second = job_for("second", parent=parent, recipe=changed(epochs=1))
    result = train(second)
    steps = lines(second, "step")
    assert result.state == "done"
    assert abs(steps[0]["metrics"]["margin"]) < 1e-3
    assert result.readings[0].kl_sequence == pytest.approx(0, abs=1e-5)
    last_of_first = lines(first, "step")[-1]["metrics"]["chosen_logp"]
    assert steps[0]["metrics"]["chosen_logp"] == pytest.approx(last_of_first, abs=3)
    assert sorted(path.name for path in (second.out / ADAPTER).iterdir()) == [ADAPTER_CONFIG, ADAPTER_WEIGHTS]
    before = (parent / ADAPTER_WEIGHTS).stat().st_size
    assert (second.out / ADAPTER / ADAPTER_WEIGHTS).stat().st_size == before


def test_a_parent_of_another_shape_is_refused(job_for: JobFor, train: Train) -> None:
    """Weights of another rank cannot be continued; the message says what to change."""
    from policies.training.errors import JobError

    first = job_for("first", recipe=changed(max_steps=2))
    train(first)
    other = job_for("other", parent=first.out / ADAPTER, recipe=changed(lora=Lora(r=8, alpha=8)))
    with pytest.raises(JobError, match="r=4, alpha=8 and the recipe r=8"):
        train(other)


def test_a_guard_halts_the_run_and_leaves_no_adapter(job_for: JobFor, train: Train) -> None:
    """Above the KL limit the run ends at the next measurement, with the reason."""
    guards = GUARDS.model_copy(update={"kl_nats": Guard(limit=1e-6)})
    result = train(job := job_for(guards=guards))
    assert (result.state, result.steps) == ("halted", 4)
    assert result.reason.startswith("step 4: kl_nats")
    assert result.files == {}
    assert not (job.out / ADAPTER).exists()


def test_a_short_run_is_measured_before_its_adapter_is_kept(job_for: JobFor, train: Train) -> None:
    """A run that ends between two measurements does not escape the guards."""
    guards = TrainingGuards(every_steps=1000, samples=4, kl_nats=Guard(limit=1e-6))
    result = train(job_for(guards=guards))
    assert (result.state, result.steps) == ("halted", 8)


def test_a_guard_on_dry_run_only_tells(job_for: JobFor, train: Train) -> None:
    """The breach is recorded in the readings and the run goes on."""
    guards = GUARDS.model_copy(update={"kl_nats": Guard(limit=1e-6, mode="dry_run")})
    result = train(job_for(guards=guards))
    assert result.state == "done"
    assert any(reason.startswith("kl_nats") for reading in result.readings for reason in reading.breaches)


def test_a_loss_that_is_not_finite_stops_at_once(job_for: JobFor, train: Train) -> None:
    """One pair whose weight overflows: the run halts on that step, keeps no adapter and no bad checkpoint."""
    pairs = [pair(n) for n in range(32)]
    pairs[11] = pairs[11].model_copy(update={"weight": 1e39})
    result = train(job := job_for(pairs=pairs, recipe=changed(checkpoint_steps=1)))
    assert result.state == "halted"
    assert "the loss is inf" in result.reason
    assert 1 <= result.steps <= 4
    assert not (job.out / ADAPTER).exists()
    assert not (job.out / CHECKPOINTS / f"checkpoint-{result.steps}").exists()
    steps = lines(job, "step")
    assert [("loss" in line["metrics"]) for line in steps] == [True] * (result.steps - 1) + [False]
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_pairs_that_teach_nothing_are_counted(job_for: JobFor, train: Train) -> None:
    """Equal answers and overlong ones are left out, and the result says how many."""
    long = pair(2, chosen="yes " * 250)
    pairs = [pair(0), pair(1), pair(3), pair(4, rejected="of course we can check that for you"), long]
    result = train(job_for(pairs=pairs, recipe=changed(max_steps=2)))
    assert (result.examples, result.left_out) == (3, {"identical": 1, "too_long": 1, "unfit": 0})


def test_nothing_to_learn_from_is_a_reason(job_for: JobFor, train: Train) -> None:
    """A snapshot whose pairs all fall out fails by name."""
    from policies.training.errors import JobError

    with pytest.raises(JobError, match="nothing to learn from: 0 pairs, 1 identical"):
        train(job_for(pairs=[pair(0, rejected="of course we can check that for you")]))


def test_the_loss_is_trls_own_where_weights_are_one(
    job_for: JobFor, base: Any, rendering: Any, tmp_path: Path
) -> None:
    """On the same batch and the same adapter our loss equals TRL's sigmoid plus sft to 1e-5."""
    import torch
    from trl import DPOConfig, DPOTrainer

    from policies.training.engines import batches, pair_trainer
    from policies.training.model import lora
    from policies.training.model.dataset import prepare

    torch.manual_seed(0)
    fresh = lora.load(base.name, None, "cpu")
    model = lora.fresh(fresh, RECIPE.lora)
    for value in lora.trainable(model).values():
        torch.nn.init.normal_(value, std=0.05)
    pairs = [pair(n) for n in range(6)]
    rows = batches.rows(prepare(pairs, rendering, 200).examples)
    arguments = {
        "output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "report_to": [], "beta": 0.3, "per_device_train_batch_size": 6, "disable_tqdm": True,
    }  # fmt: skip
    ours = pair_trainer.PairTrainer(
        sft_weight=0.7,
        check_margin=False,
        extra_state=str,
        model=model,
        args=DPOConfig(**arguments, remove_unused_columns=False),
        pad=base.tokenizer.pad_token_id,
        rows=rows,
        processing_class=base.tokenizer,
    )
    ours.model.delete_adapter("ref")
    batch = ours.data_collator(rows)
    theirs_batch = {name: batch[name] for name in ("input_ids", "attention_mask", "completion_mask")}
    mine = ours._compute_loss(ours.model, dict(batch), False)
    ours.loss_types, ours.loss_weights = ["sigmoid", "sft"], [1.0, 0.7]
    theirs = DPOTrainer._compute_loss(ours, ours.model, theirs_batch, False)
    assert mine.item() == pytest.approx(theirs.item(), abs=1e-5)
    assert mine.item() > 0.5


def test_weights_and_soft_labels_change_the_loss() -> None:
    """A pair of weight 0 adds nothing; a soft label of one half is indifferent to the direction."""
    import torch

    from policies.training.engines.losses import dpo_loss

    good, bad = torch.tensor([-2.0, -9.0]), torch.tensor([-5.0, -1.0])
    zero, tokens = torch.zeros(2), torch.tensor([4, 4])

    def loss(weight: list[float], soft: list[float], *, swap: bool = False) -> float:
        first, second = (bad, good) if swap else (good, bad)
        terms = dpo_loss(
            first, second, zero, zero, chosen_tokens=tokens, weight=torch.tensor(weight),
            soft=torch.tensor(soft), beta=0.5, sft_weight=0.0,
        )  # fmt: skip
        return terms.loss.item()

    one = -math.log(1 / (1 + math.exp(-1.5)))
    assert loss([1, 0], [1, 1]) == pytest.approx(one / 2, abs=1e-6)
    assert loss([2, 0], [1, 1]) == pytest.approx(one, abs=1e-6)
    assert loss([1, 1], [0.5, 0.5]) == pytest.approx(loss([1, 1], [0.5, 0.5], swap=True), abs=1e-6)
    assert loss([1, 1], [0.9, 0.9]) != pytest.approx(loss([1, 1], [1, 1]), abs=1e-3)


def test_batches_hold_like_lengths_and_every_pair_once(job_for: JobFor) -> None:
    """The order is a function of seed and epoch, covers all, and pads less than a random one."""
    import random

    from policies.training.engines.batches import LengthBuckets

    rng = random.Random(0)
    lengths = [rng.randrange(10, 500) for _ in range(203)]
    buckets = LengthBuckets(lengths, 8, seed=1)
    first, again = list(buckets), list(buckets)
    buckets.set_epoch(1)
    other = list(buckets)
    assert sorted(first) == list(range(203))
    assert first == again != other

    def padded(order: list[int]) -> int:
        batches = [order[at : at + 8] for at in range(0, len(order), 8)]
        return sum(max(lengths[index] for index in batch) * len(batch) for batch in batches)

    shuffled = rng.sample(range(203), 203)
    assert padded(first) < 0.8 * padded(shuffled)

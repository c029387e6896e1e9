"""KTO: the loss with weights, the estimate of KL, the batches, and a run that is cut off and goes on."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from policies import answers
from policies.answers import Answer
from policies.recipes import KtoRecipe, Lora
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import ADAPTER, PROGRESS
from tests.policies.training.conftest import GUARDS, NOUNS, said

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

JobFor = Callable[..., TrainJob]
Train = Callable[..., TrainResult]
RECIPE = KtoRecipe(
    lora=Lora(r=4, alpha=8), learning_rate=1e-2, epochs=2, batch_size=8, checkpoint_steps=3, max_length=200
)


def thumb(number: int, *, good: bool, weight: float = 1.0, text: str | None = None) -> Answer:
    return Answer(
        kind="thumb",
        prompt=(said("user", f"hello please help me with my {NOUNS[number % 5]} {'please ' * number}"),),
        answer=(said("assistant", text or ("of course we can check that" if good else "no go away")),),
        good=good,
        weight=weight,
    )


THUMBS = [thumb(number, good=number % 3 == 0) for number in range(24)]


@pytest.fixture
def thumbs_job(job_for: JobFor, tmp_path: Path) -> JobFor:
    """Makes a job on thumbs."""

    def make(name: str, given: Sequence[Answer] = THUMBS, **changes: Any) -> TrainJob:
        snapshot_id, path = answers.write(tmp_path / "thumbs", "tiny", given)
        return job_for(name, **{"recipe": RECIPE, "snapshot": path, "snapshot_id": snapshot_id} | changes)

    return make


@pytest.fixture
def trainer_of(base: Any, rendering: Any, tmp_path: Path) -> Callable[..., Any]:
    """A trainer whose adapter is not the reference any more."""

    def make(given: Sequence[Answer], **changes: Any) -> Any:
        import torch

        from policies.training.engines import kto_trainer
        from policies.training.engines.upkeep import rows_of
        from policies.training.model import lora
        from policies.training.model.singles import prepare
        from policies.training.planning.kto import decide
        from policies.training.planning.resolved import ResolvedKto
        from tests.policies.training.planning.facts import facts

        recipe = decide(RECIPE.model_copy(update=changes), GUARDS, facts(len(given))).recipe
        assert isinstance(recipe, ResolvedKto)
        own = lora.load(base.name, None, "cpu")
        trainer = kto_trainer.ThumbTrainer(
            sft_weight=recipe.sft_weight,
            extra_state=str,
            rows=rows_of(prepare(given, rendering, 200).examples),
            collate=kto_trainer.Thumbs(rendering.pad),
            model=lora.fresh(own, recipe.lora),
            args=kto_trainer.arguments(recipe, tmp_path, own, 0),
            processing_class=own.tokenizer,
        )
        trainer.model.delete_adapter(lora.REFERENCE)
        torch.manual_seed(0)
        for value in lora.trainable(trainer.model).values():
            torch.nn.init.normal_(value, std=0.05)
        return trainer

    return make


def gradients(trainer: Any, rows: Any) -> tuple[float, Any]:
    import torch

    from policies.training.model import lora

    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    loss.backward()
    return loss.item(), torch.cat([value.grad.flatten() for value in lora.trainable(trainer.model).values()])


def test_the_loss_is_trls_where_weights_are_one(trainer_of: Callable[..., Any]) -> None:
    """With the same answers mixed up in the same way."""
    import torch
    from trl import KTOTrainer

    trainer = trainer_of(THUMBS[:8], sft_weight=0)
    batch = trainer.data_collator(trainer.rows)
    plain = {name: value for name, value in batch.items() if name != "weight"}
    with torch.no_grad():
        ours = trainer.compute_loss(trainer.model, batch).item()
        theirs = KTOTrainer._compute_loss(trainer, trainer.model, plain, False).item()
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_weight_scales_an_answers_pull(trainer_of: Callable[..., Any]) -> None:
    """Twice all weights is twice the gradient, and without any there is none."""
    import torch

    trainer = trainer_of(THUMBS[:8], sft_weight=0)
    loss, once = gradients(trainer, trainer.rows)
    double, twice = gradients(trainer, [row | {"weight": 2.0} for row in trainer.rows])
    nothing, none = gradients(trainer, [row | {"weight": 0.0} for row in trainer.rows])
    assert double == pytest.approx(2 * loss, rel=1e-4)
    assert torch.allclose(twice, 2 * once, rtol=1e-3, atol=1e-6)
    assert (nothing, none.abs().max().item()) == (0.0, 0.0)


def test_the_anchor_is_the_good_answers_by_their_weights(trainer_of: Callable[..., Any]) -> None:
    """Nats per token; bad answers, and a common factor of the weights, do not count."""
    import torch

    trainer = trainer_of(THUMBS[:8], sft_weight=0.5)
    weights = [1.0, 5.0, 5.0, 3.0, 5.0, 5.0, 2.0, 5.0]
    batch = trainer.data_collator(trainer.rows) | {"weight": torch.tensor(weights)}
    good = batch["label"].nonzero().flatten().tolist()
    with torch.no_grad():
        anchored = trainer.compute_loss(trainer.model, batch).item()
        trainer._sft_weight = 0.0
        bare = trainer.compute_loss(trainer.model, batch).item()
        outputs = trainer.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False,
            labels=batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100), fused_lm_head=True,
        )  # fmt: skip
    logp, tokens = outputs.log_probs.sum(dim=1).tolist(), batch["completion_mask"].sum(dim=1).tolist()
    nats = sum(weights[row] * -logp[row] for row in good) / sum(weights[row] * tokens[row] for row in good)
    assert anchored - bare == pytest.approx(0.5 * nats, abs=1e-4)


def test_an_answer_of_weight_0_has_no_influence(thumbs_job: JobFor, train: Train) -> None:
    """Not on the loss, not on the estimate of KL, not on the batches: the same adapter to the byte."""
    with_it = [*THUMBS[:12], thumb(30, good=True, weight=0.0, text="no no no"), *THUMBS[12:]]
    plain, other = train(thumbs_job("plain")), train(thumbs_job("other", with_it))
    assert other.left_out["weightless"] == 1
    assert other.files == plain.files


def test_the_rarer_kind_weighs_as_much_as_the_other(rendering: Any) -> None:
    """In sum, and one kind alone stays as it is."""
    from policies.training.model.singles import balanced, prepare

    examples = balanced(prepare(THUMBS, rendering, 200).examples)
    sums = [sum(each.weight for each in examples if each.good is good) for good in (True, False)]
    assert sums == pytest.approx([16.0, 16.0])
    alone = prepare([each for each in THUMBS if each.good], rendering, 200).examples
    assert balanced(alone) == alone


def test_batches_hold_both_kinds_by_like_length(rendering: Any) -> None:
    """In the proportion of the whole; another epoch has another order, the same one has the same."""
    from policies.training.engines.upkeep import MixedBuckets, rows_of
    from policies.training.model.singles import prepare

    rows = rows_of(prepare(THUMBS, rendering, 200).examples)
    sampler = MixedBuckets(rows, 6, seed=3)
    order = list(sampler)
    assert sorted(order) == list(range(24))
    for start in range(0, 24, 6):
        assert sum(rows[index]["good"] for index in order[start : start + 6]) == 2
    assert list(sampler) == order
    sampler.set_epoch(1)
    assert list(sampler) != order


def test_which_answers_a_step_has_does_not_depend_on_its_cut(rendering: Any) -> None:
    """A step of twelve, in batches of any size and by any number of processes, is twelve of the order."""
    from policies.training.engines.upkeep import MixedBuckets, rows_of
    from policies.training.model.singles import prepare

    rows = rows_of(prepare(THUMBS, rendering, 200).examples)
    order = list(MixedBuckets(rows, 12, seed=3))
    for start in range(0, 24, 4):
        assert any(rows[index]["good"] for index in order[start : start + 4])


def test_training_raises_the_good_and_lowers_the_bad(thumbs_job: JobFor, train: Train) -> None:
    """The figures are reported under the engine's names, and the last batch may be a single answer."""
    result = train(thumbs_job("run", THUMBS[:17], recipe=RECIPE.model_copy(update={"epochs": 4})))
    assert (result.state, result.steps, result.examples) == ("done", 12, 17)
    last = [reading.chosen_drift for reading in result.readings][-1]
    assert last is not None
    assert last > 0
    assert result.metrics["kl_estimate"] >= 0


def test_a_run_that_was_cut_off_ends_as_the_same_adapter(thumbs_job: JobFor, train: Train) -> None:
    """Digest and all."""
    expected = train(thumbs_job("whole"))
    cut = thumbs_job("cut")
    assert train(cut, stop_at=4).state == "stopped"
    resumed = train(cut)
    assert (resumed.state, resumed.resumed_from > 0) == ("done", True)
    assert (resumed.files, resumed.probe, resumed.readings) == (
        expected.files, expected.probe, expected.readings
    )  # fmt: skip


def test_an_adapter_is_continued_and_compared_with(thumbs_job: JobFor, train: Train) -> None:
    """The parent is the reference of loss and guards: drift and KL begin at 0."""
    first = thumbs_job("first")
    assert train(first).state == "done"
    second = train(job := thumbs_job("second", parent=first.out / ADAPTER))
    assert second.state == "done"
    assert second.readings[0].kl_sequence == pytest.approx(0, abs=1e-5)
    lines = map(json.loads, (job.out / PROGRESS).read_text(encoding="utf-8").splitlines())
    steps = [line["metrics"] for line in lines if line["event"] == "step"]
    assert steps[0]["chosen_drift"] == pytest.approx(0, abs=1e-4)
    assert steps[0]["rejected_drift"] == pytest.approx(0, abs=1e-4)
    assert steps[-1]["chosen_drift"] > 0
    assert len(second.files) == 2


def test_a_step_is_never_cut_to_single_answers() -> None:
    """KL is estimated across the answers of a batch: a plan for no memory at all is refused, not cut."""
    from policies.training.planning.kto import decide
    from tests.policies.training.planning.facts import facts

    found = decide(KtoRecipe(), GUARDS, facts(200, there=1))
    assert "a batch of 2 answers" in found.refusal
    with pytest.raises(ValueError, match="batches of 2 answers at least"):
        found.recipe.smaller()
    with pytest.raises(ValueError, match="KL is estimated across the answers of a batch: write 2"):
        KtoRecipe(batch_size=1)
    with pytest.raises(ValueError, match="must be below good_from"):
        KtoRecipe(good_from=3, bad_to=3)
    with pytest.raises(ValueError, match=r"nothing of policy\.recipe\.source would be learned from"):
        KtoRecipe(thumb_weight=0)


def test_the_reference_is_the_jobs(thumbs_job: JobFor, train: Train) -> None:
    """From an adapter KL is read to that, or to the base; from the base to it, or to the adapter."""
    two = RECIPE.model_copy(update={"max_steps": 2})
    stable = thumbs_job("stable", recipe=RECIPE)
    assert train(stable).state == "done"
    adapter = stable.out / ADAPTER
    found = {
        "level": train(thumbs_job("level", recipe=two, parent=adapter)),
        "away": train(thumbs_job("away", recipe=two, parent=adapter, reference="base")),
        "back": train(thumbs_job("back", recipe=two, reference=adapter)),
    }
    assert {result.state for result in found.values()} == {"done"}
    assert found["level"].readings[0].kl_sequence == pytest.approx(0, abs=1e-5)
    for name in ("away", "back"):
        assert found[name].readings[0].kl_sequence > 1e-3
    assert found["away"].files != found["level"].files

"""Supervised fine-tuning: what is a target, what the loss is, and a run that is cut off and goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies import answers
from policies.answers import Answer
from policies.policy import Guard
from policies.recipes import DpoRecipe, Lora, SftRecipe
from policies.snapshot import Pair
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import ADAPTER
from tests.policies.training.conftest import GUARDS, pair, said

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

JobFor = Callable[..., TrainJob]
Train = Callable[..., TrainResult]
RECIPE = SftRecipe(
    lora=Lora(r=4, alpha=8), learning_rate=1e-2, epochs=2, batch_size=8, checkpoint_steps=3, max_length=200
)


def singles(rendering: Any, given: list[Answer]) -> Any:
    from policies.training.model.singles import prepare

    return prepare(given, rendering, 200)


def written(text: str, **changes: Any) -> Answer:
    fields = {
        "kind": "best",
        "prompt": (said("user", "hello please help"),),
        "answer": (said("assistant", text),),
    }
    return Answer.model_validate(fields | changes)


def test_two_steps_raise_the_chosen_answers(job_for: JobFor, train: Train) -> None:
    """Of a snapshot of pairs the chosen sides are the targets, one a prompt, and the rest is counted."""
    result = train(job := job_for(recipe=RECIPE.model_copy(update={"max_steps": 2})))
    assert (result.state, result.steps, result.examples) == ("done", 2, 27)
    assert result.left_out["bad"] == 32
    assert result.left_out["not_best"] == 5
    assert result.metrics["answer_logp"] < 0
    assert 0 <= result.metrics["token_accuracy"] <= 1
    assert {reading.chosen_drift for reading in result.readings} == {None}
    assert result.probe is not None
    assert (job.out / ADAPTER).is_dir()


def test_the_loss_is_trls_with_weights(base: Any, rendering: Any, tmp_path: Path) -> None:
    """Nats per token of answers alone: TRL's own where weights are one, and each weight scales its part."""
    import torch
    from trl import SFTTrainer

    given = [written("of course we can"), written("no go away", prompt=(said("user", "help me"),))]
    trainer = trainer_of(base, singles(rendering, given).examples, rendering, tmp_path)
    batch = trainer.data_collator(trainer.rows)
    assert batch["labels"][0][: len(trainer.rows[0]["prompt_ids"])].eq(-100).all()
    plain = {name: value for name, value in batch.items() if name != "weight"}
    with torch.no_grad():
        ours = trainer.compute_loss(trainer.model, batch).item()
        theirs = SFTTrainer.compute_loss(trainer, trainer.model, dict(plain)).item()
        parts = [
            trainer.compute_loss(trainer.model, batch | {"weight": torch.tensor(weight)}).item()
            for weight in ([1.0, 0.0], [0.0, 1.0], [2.0, 3.0])
        ]
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert parts[0] + parts[1] == pytest.approx(ours, abs=1e-5)
    assert 2 * parts[0] + 3 * parts[1] == pytest.approx(parts[2], abs=1e-4)


def trainer_of(base: Any, examples: Any, rendering: Any, out: Path) -> Any:
    from policies.training.engines import sft_trainer
    from policies.training.engines.upkeep import rows_of
    from policies.training.model import lora
    from policies.training.planning.resolved import ResolvedSft
    from policies.training.planning.sft import decide
    from tests.policies.training.planning.facts import facts

    recipe = decide(RECIPE, GUARDS, facts(len(examples))).recipe
    assert isinstance(recipe, ResolvedSft)
    own = lora.load(base.name, None, "cpu")
    return sft_trainer.TargetTrainer(
        extra_state=str,
        rows=rows_of(examples),
        collate=sft_trainer.Targets(rendering.pad),
        model=lora.fresh(own, recipe.lora),
        args=sft_trainer.arguments(recipe, out, own, 0),
        processing_class=own.tokenizer,
    )


def test_tool_results_and_sampled_tokens_are_as_in_dpo(rendering: Any) -> None:
    """The mask is the chosen side's of the same pair."""
    from policies.training.model.dataset import tokenise as tokenise_pair
    from policies.training.model.singles import tokenise

    one = pair(1)
    single, both = tokenise(answers.of_pairs([one])[0], rendering), tokenise_pair(one, rendering)
    assert (single.prompt, single.answer, single.mask) == (both.prompt, both.chosen, both.chosen_mask)
    cut = Pair.model_validate(one.model_dump() | {"rejected_truncated": True})
    single, both = tokenise(answers.of_pairs([cut])[1], rendering), tokenise_pair(cut, rendering)
    assert (single.answer, single.mask) == (both.rejected, both.rejected_mask)


def test_what_is_left_out_is_counted(rendering: Any) -> None:
    """Of weight 0, repeated, too long: each with its reason."""
    given = [written("yes"), written("yes"), written("no", weight=0), written("yes " * 300)]
    found = singles(rendering, given)
    assert len(found.examples) == 1
    assert found.left_out == {"weightless": 1, "unfit": 0, "repeated": 1, "too_long": 1}
    assert "200 is the most" in found.told


def test_a_run_that_was_cut_off_ends_as_the_same_adapter(job_for: JobFor, train: Train) -> None:
    """Digest and all."""
    expected = train(job_for("whole", recipe=RECIPE))
    cut = job_for("cut", recipe=RECIPE)
    assert train(cut, stop_at=4).state == "stopped"
    resumed = train(cut)
    assert (resumed.state, resumed.resumed_from > 0) == ("done", True)
    assert (resumed.files, resumed.probe) == (expected.files, expected.probe)


def test_an_adapter_is_continued_and_compared_with(job_for: JobFor, train: Train) -> None:
    """The parent is the guards' reference: KL begins at 0, and the parent's shape is kept."""
    first = job_for("first", recipe=RECIPE)
    assert train(first).state == "done"
    guards = GUARDS.model_copy(update={"kl_nats": Guard(limit=1e6)})
    second = train(job_for("second", recipe=RECIPE, parent=first.out / ADAPTER, guards=guards))
    assert second.state == "done"
    assert second.readings[0].kl_sequence == pytest.approx(0, abs=1e-5)
    assert second.readings[-1].kl_sequence > 0
    assert len(second.files) == 2


def test_nothing_to_learn_from_is_one_line(job_for: JobFor, train: Train, tmp_path: Path) -> None:
    """A file of bad answers has no target, and one of single answers no pair."""
    from policies.training.errors import JobError

    name, path = answers.write(tmp_path / "bad", "tiny", [written("no", good=False)])
    with pytest.raises(JobError, match="nothing to learn from: 0 answers"):
        train(job_for("sft", recipe=RECIPE, snapshot=path, snapshot_id=name))
    with pytest.raises(JobError, match=r"holds single answers: DPO learns from pairs, sft and kto do not"):
        train(job_for("dpo", snapshot=path, snapshot_id=name))


def test_an_answer_is_planned_as_one_sequence() -> None:
    """Half of a pair's memory and work at the same lengths; no reference is counted."""
    from policies.training.planning.sft import decide
    from tests.policies.training.planning.facts import facts, plan

    pairs = facts(200)
    lengths = pairs.lengths.model_copy(update={"sequences": 1, "tokens": pairs.lengths.tokens // 2})
    asked = {"batch_size": 4, "gradient_accumulation": 2, "epochs": 2.0}
    single = decide(SftRecipe(**asked), GUARDS, pairs.model_copy(update={"lengths": lengths}))
    both = plan(200, DpoRecipe(**asked))
    assert single.memory.activations == both.memory.activations / 2
    assert single.recipe.steps == both.recipe.steps == 50
    assert single.recipe.learning_rate == both.recipe.learning_rate
    assert single.flops < both.flops / 2
    assert "4 x 2 answers" in str(single)
    cut = decide(SftRecipe(), GUARDS, pairs.model_copy(update={"lengths": lengths})).recipe
    assert (cut.method, cut.at_once) == ("sft", 8)
    refused = decide(SftRecipe(), GUARDS, pairs.model_copy(update={"lengths": lengths, "there": 1}))
    assert refused.refusal.startswith("one answer of 148 tokens does not fit")

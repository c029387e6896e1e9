"""PPO on the tiny model: what a step computes, whole runs, and what ends them."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from policies.policy import Guard, TrainingGuards
from policies.recipes import Lora
from policies.training.errors import JobError, StoppedError
from tests.policies.training.engines.wishes import PROMPTS, RECIPE, asked, fingerprint, recorder

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]


def test_a_rewarded_policy_says_more_of_what_is_rewarded(ppo_for: Callable[..., Any]) -> None:
    """In twelve steps the share of wished words goes from a tenth to three tenths or more, near the KL that
    is steered to.
    """
    watched = recorder()
    ended = ppo_for(callback=watched).train()
    assert (ended.state, ended.steps) == ("done", 12)
    seen = watched.figures
    before, after = (fmean(each["reward"] for each in part) for part in (seen[:3], seen[-3:]))
    assert 0 < before < 1.5
    assert after > 3
    assert seen[0]["kl_sequence"] == pytest.approx(0, abs=1e-5)
    assert 1 < seen[-1]["kl_sequence"] < 8
    assert [each["learning_rate"] > 0 for each in seen[:4]] == [False, False, True, True]
    assert all("updates" not in each for each in seen[:2]), "in the critic's warm-up the policy is left alone"


def test_events_come_in_the_trainers_order(ppo_for: Callable[..., Any]) -> None:
    """A step's end, its figures, and where it is due its checkpoint: what Watch expects."""
    watched = recorder()
    ppo_for(callback=watched, recipe=RECIPE.model_copy(update={"steps": 3, "checkpoint_steps": 2})).train()
    assert watched.events == ["step_end", "log", "step_end", "log", "save", "step_end", "log", "save"]


def test_a_run_that_was_stopped_goes_on_to_the_very_same_adapter(ppo_for: Callable[..., Any]) -> None:
    """Stopped in the critic's warm-up or later, and made anew: figures and weights are the same bits."""
    recipe = RECIPE.model_copy(update={"steps": 8})
    seen = recorder()
    whole = ppo_for("whole", recipe, callback=seen)
    assert whole.train().state == "done"
    for step in (1, 2, 5, 7):
        before, after = recorder(), recorder()
        before.stop_at = step
        ended = ppo_for(f"cut-{step}", recipe, callback=before).train()
        assert (ended.state, ended.steps) == ("stopped", step)
        again = ppo_for(f"cut-{step}", recipe, callback=after)
        ended = again.train()
        assert (ended.state, ended.resumed_from) == ("done", step)
        assert before.figures + after.figures == seen.figures
        assert fingerprint(again) == fingerprint(whole)


def test_a_kill_between_checkpoints_and_a_torn_one_change_nothing(ppo_for: Callable[..., Any]) -> None:
    """What is gone since the last whole checkpoint is done again, to the same adapter."""
    whole = ppo_for("whole", RECIPE.model_copy(update={"steps": 8}))
    whole.train()
    folder = whole._out
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-4", "checkpoint-8"]
    torn = folder / "checkpoint-8" / "weights.safetensors"
    torn.write_bytes(torn.read_bytes()[:-8])
    again = ppo_for("whole", RECIPE.model_copy(update={"steps": 8}))
    ended = again.train()
    assert (ended.state, ended.resumed_from) == ("done", 4)
    assert fingerprint(again) == fingerprint(whole)
    finished = ppo_for("whole", RECIPE.model_copy(update={"steps": 8}))
    ended = finished.train()
    assert ended.resumed_from == 8
    assert ended.figures["kl_sequence"] > 0, "the figures of the last step are kept with it"
    assert fingerprint(finished) == fingerprint(whole)


def test_a_checkpoint_of_another_run_is_refused(ppo_for: Callable[..., Any]) -> None:
    """Other weights are not filled with what happens to be there."""
    ppo_for("run", RECIPE.model_copy(update={"steps": 4})).train()
    narrow = RECIPE.model_copy(update={"steps": 4, "lora": Lora(r=4, alpha=8, target_modules=("q_proj",))})
    with pytest.raises(JobError, match="not a checkpoint of this run"):
        ppo_for("run", narrow).train()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_stops_at_once(ppo_for: Callable[..., Any], bad: float) -> None:
    """At step 3 of a run: halted there with the reason, the weights those of step 2, no checkpoint of it."""
    steps: list[int] = []

    def verdicts(answers: Sequence[Any]) -> list[float | None]:
        steps.append(len(answers))
        return [
            bad if len(steps) == 3 and number == 5 else float(number % 3) for number in range(len(answers))
        ]

    recipe = RECIPE.model_copy(update={"checkpoint_steps": 1, "critic_warmup_steps": 1})
    run = ppo_for(recipe=recipe, verdicts=verdicts)
    before: list[str] = []
    run._callback.on_save = lambda *_args, **_kwargs: before.append(fingerprint(run))
    ended = run.train()
    assert (ended.state, ended.steps, ended.reason) == ("halted", 3, f"step 3: reward is {bad}")
    assert sorted(path.name for path in run._out.iterdir()) == ["checkpoint-1", "checkpoint-2"]
    assert fingerprint(run) == before[-1] != before[0]


def test_the_guards_of_other_engines_end_this_one(
    ppo_for: Callable[..., Any], base: Any, rendering: Any, tmp_path: Path
) -> None:
    """The monitor that serves DPO samples, measures KL and entropy, reports a step's figures under the names
    that PPO gives them, and stops a run above its limit.
    """
    from policies.training.engines import ppo
    from policies.training.engines.ppo import Hooks
    from policies.training.guarding.monitor import Monitor
    from policies.training.guarding.reader import Reader
    from policies.training.progress import Reporter

    questions = asked(rendering, PROMPTS[:4])
    reader = Reader(
        rendering=rendering, questions=questions, at_once=8, reference=None, max_new_tokens=8, seed=1
    )
    file = tmp_path / "progress.jsonl"
    with Reporter(file) as reporter:
        watch = Monitor(
            reader=reader,
            figures=ppo.FIGURES,
            guards=TrainingGuards(kl_nats=Guard(limit=0.01)),
            every_steps=4,
            reporter=reporter,
            stopping=lambda: False,
        )
        ended = ppo_for(callback=watch, hooks=Hooks(watch.state)).train()
    told = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    steps = [line["metrics"] for line in told if line["event"] == "step"]
    assert steps[-1] == ended.figures, "nothing that the engine found is dropped"
    assert {"reward", "reward_sd", "kl_coefficient", "approx_kl", "clip_share", "value_loss"} <= set(
        steps[-1]
    )
    assert all("chosen_drift" not in line["metrics"] for line in told)
    assert (ended.state, ended.steps) == ("stopped", 4)
    assert watch.halted is not None
    assert watch.halted.startswith("step 4: kl_nats")
    assert [reading.step for reading in watch.readings] == [0, 4]
    assert not (tmp_path / "run" / "checkpoint-4").exists(), "a checkpoint beyond a guard is none"


def test_a_run_learns_from_stale_rollouts(ppo_for: Callable[..., Any]) -> None:
    """Every second step learns from the rollouts of the step before; the reward rises all the same."""
    run = ppo_for(
        recipe=RECIPE.model_copy(update={"approx_kl_limit": 1.0, "steps": 16, "critic_warmup_steps": 1})
    )
    rewards: list[float] = []
    stale: list[float] = []
    for step in range(1, 17, 2):
        collected = run.collector.collect(step)
        rewards.append(run.learn(collected, step)["reward"])
        stale.append(run.learn(collected, step + 1)["approx_kl"])
    assert max(stale) > 0.01
    assert fmean(rewards[-2:]) > fmean(rewards[:2]) + 1.5


def test_whoever_looks_on_hears_of_every_batch_and_can_end_the_run(ppo_for: Callable[..., Any]) -> None:
    """Sampling is the longest part of a step: it says how far it is, and ends where it is told to."""
    from policies.training.engines.ppo import Hooks

    heard: list[tuple[int, int]] = []

    def between(done: int, total: int) -> None:
        heard.append((done, total))
        if len(heard) == 3:
            raise StoppedError("asked to stop")

    recipe = RECIPE.model_copy(update={"sampling_batch": 16})
    with pytest.raises(StoppedError, match="asked to stop"):
        ppo_for(recipe=recipe, hooks=Hooks(between=between)).train()
    assert heard == [(16, 32), (32, 32), (16, 32)]


def test_without_prompts_there_is_no_run(ppo_for: Callable[..., Any], rendering: Any) -> None:
    """It says so before anything is sampled."""
    from policies.training.engines.ppo import Ppo

    run = ppo_for()
    with pytest.raises(JobError, match="no prompts"):
        Ppo(
            roles=run.roles,
            rendering=rendering,
            questions=[],
            rewarder=run.collector.rewarder,
            recipe=RECIPE,
            out=run._out,
            seed=0,
            callback=recorder(),
        )

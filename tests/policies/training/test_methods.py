"""Reward models and PPO as jobs: from a snapshot to files, a policy, or a reason."""

import asyncio
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import numpy as safetensors

from connectors.errors import PoisonError
from daemon.children.resident import Resident
from policies import prompted
from policies.policy import Guard, TrainingGuards
from policies.recipes import Lora, PpoRecipe, RewardRecipe
from policies.snapshot import Pair
from policies.training.engines import reward
from policies.training.errors import JobError
from policies.training.jobs import GradeJob, GradeResult, RewardFiles, TrainJob, TrainResult
from policies.training.layout import ADAPTER, ADAPTER_WEIGHTS, CHECKPOINTS, JOB, PROGRESS, RESULT
from policies.training.planning.resolved import ResolvedReward
from policies.training.resident.protocol import JudgeJob, LoggedAnswer
from tests.policies.training.conftest import said
from tests.policies.training.engines.wishes import separable

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

JobFor = Callable[..., TrainJob]
Train = Callable[..., TrainResult]

REWARD = RewardRecipe(
    lora=Lora(r=4, alpha=8), learning_rate=1e-2, epochs=3, batch_size=8, max_length=200, checkpoint_steps=5
)
PPO = PpoRecipe(
    lora=Lora(r=4, alpha=8), steps=5, prompts=4, answers=3, max_new_tokens=6, minibatch=6, microbatch=6,
    sampling_batch=12, learning_rate=1e-2, warmup_steps=1, critic_warmup_steps=1, checkpoint_steps=2,
    max_length=200,
)  # fmt: skip
STEP_ANSWERS = 4 * 3
"""Of one step of PPO."""
GUARDS = TrainingGuards(
    every_steps=2,
    samples=4,
    kl_nats=Guard(limit=1e6),
    entropy_low_ratio=Guard(limit=0),
    entropy_high_ratio=Guard(limit=1e6),
)


def rated(number: int) -> Pair:
    """A pair with the rewards that made it one."""
    rewards = {"chosen_reward": 7.5 + number % 3 / 2, "rejected_reward": 2.0 + number % 5 / 4}
    return separable(number).model_copy(update=rewards)


PAIRS = [rated(number) for number in range(200)]


def lines(job: TrainJob | GradeJob, event: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in (job.out / PROGRESS).read_text(encoding="utf-8").splitlines())
    return [line for line in found if line["event"] == event]


@pytest.fixture
def reward_job(job_for: JobFor) -> JobFor:
    def make(name: str = "reward", **changes: Any) -> TrainJob:
        return job_for(name, **{"pairs": PAIRS, "recipe": REWARD, "guards": GUARDS} | changes)

    return make


@pytest.fixture(scope="session")
def reward_files(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RewardFiles:
    """A reward model, trained once a session by a job of its own."""
    from policies.snapshot import write
    from policies.training.progress import Reporter
    from policies.training.run import train

    out = tmp_path_factory.mktemp("reward-model")
    snapshot_id, path = write(out / "snapshots", "tiny", PAIRS)
    job = TrainJob(
        out=out, base_model=str(tiny_model), snapshot=path, snapshot_id=snapshot_id, recipe=REWARD,
        guards=GUARDS, device="cpu", lock=out / "lock", seed=5,
    )  # fmt: skip
    with Reporter(out / PROGRESS) as reporter:
        result = train(job, reporter, lambda: False)
    assert result.state == "done", result.reason
    return RewardFiles(path=out / "reward", digest="0" * 64)


@pytest.fixture
def ppo_job(job_for: JobFor, reward_files: RewardFiles) -> JobFor:
    def make(name: str = "ppo", **changes: Any) -> TrainJob:
        settings = {"pairs": PAIRS[:40], "recipe": PPO, "guards": GUARDS, "reward": reward_files}
        return job_for(name, **settings | changes)

    return make


def test_a_reward_model_goes_from_snapshot_to_files(reward_job: JobFor, train: Train) -> None:
    """Adapter, head and calibration by their paths in the directory; no policy is sampled from; scores are
    calibrated on answers to prompts that were not learned from.
    """
    result = train(job := reward_job())
    assert (result.state, result.examples) == ("done", 200)
    assert sorted(result.files) == [
        "fold-0/adapter_config.json", "fold-0/adapter_model.safetensors", "fold-0/head.safetensors",
        "reward.json",
    ]  # fmt: skip
    assert all((job.out / "reward" / name).is_file() for name in result.files)
    assert result.metrics["accuracy"] > 0.9
    assert (result.readings, result.probe) == ((), None)
    assert result.plan is not None
    assert (result.plan.recipe.method, result.plan.recipe.steps, result.plan.readings) == (
        "reward", result.steps, 0
    )  # fmt: skip
    manifest = json.loads((job.out / "reward" / "reward.json").read_text(encoding="utf-8"))
    (line,) = manifest["calibrations"]
    assert line["points"] >= 20
    assert line["residual"] < 2
    assert {"margin", "accuracy", "score"} < lines(job, "step")[0]["metrics"].keys()
    assert not (job.out / ADAPTER).exists()


def test_a_reward_model_goes_on_from_its_checkpoint(reward_job: JobFor, train: Train) -> None:
    """In the second of two folds: what is done stays, and the files are those of a run in one go."""
    recipe = REWARD.model_copy(update={"folds": 2, "epochs": 1.0})
    whole = train(reward_job("whole", recipe=recipe))
    assert whole.state == "done"
    cut = reward_job("cut", recipe=recipe)
    first = train(cut, stop_at=7)
    assert first.state == "stopped"
    assert "of fold 1 of 2" in first.reason
    resumed = train(cut)
    assert (resumed.state, resumed.resumed_from > 0) == ("done", True)
    assert resumed.files == whole.files
    assert resumed.metrics["held_out"] == whole.metrics["held_out"] > 0.8


def test_a_reward_model_that_is_not_finite_has_no_files(
    reward_job: JobFor, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is no number at the second step: halted there, with the reason, nothing written."""
    sound = reward.arguments

    def beyond(recipe: ResolvedReward, *others: Any) -> Any:
        """At a rate that no recipe may ask for."""
        return sound(recipe.model_copy(update={"learning_rate": 1e30}), *others)

    monkeypatch.setattr(reward, "arguments", beyond)
    result = train(job := reward_job())
    assert (result.state, result.files) == ("halted", {})
    assert result.reason.startswith("step 2: the ")
    assert not (job.out / "reward").exists()


def test_ppo_goes_from_prompts_to_an_adapter(ppo_job: JobFor, train: Train) -> None:
    """Those of the traffic, most with no pair. Rewarded by a reward model, under a ceiling from the answers
    seen before; with its own figures, the guards' readings, and a probe.
    """
    job = ppo_job()
    found = prompted.of_pairs(PAIRS[:40])
    found += [each.model_copy(update={"prompt": (*each.prompt, *found[0].prompt)}) for each in found[1:]]
    bare = [each.model_copy(update={"answers": each.answers[:1]}) for each in found]
    name, path = prompted.write(job.snapshot.parent, "tiny", bare)
    job = job.model_copy(update={"snapshot": path, "snapshot_id": name})
    result = train(job)
    assert (result.state, result.steps) == ("done", 5), result.reason
    assert result.examples == len(bare) == 2 * len({pair.prompt for pair in PAIRS[:40]}) - 1
    assert len(result.files) == 2
    assert result.probe is not None
    assert [reading.step for reading in result.readings] == [0, 2, 4, 5]
    assert {reading.chosen_drift for reading in result.readings} == {None}
    assert 0 < result.metrics["ceiling"] <= 10
    assert result.metrics["kl_sequence"] == result.readings[-1].kl_sequence
    steps = lines(job, "step")
    assert len(steps) == 5
    assert {"reward", "reward_sd", "kl_coefficient", "ceiling_share"} < steps[0]["metrics"].keys()
    assert {"approx_kl", "clip_share", "value_loss"} < steps[-1]["metrics"].keys()
    adapter = safetensors.load_file(job.out / ADAPTER / ADAPTER_WEIGHTS)
    assert all("lora" in name for name in adapter), "critic and reward model stay behind"


def test_ppo_goes_on_from_its_checkpoint(ppo_job: JobFor, train: Train) -> None:
    """Stopped at step 3 and taken up again: the very same adapter, probe and readings."""
    expected = train(ppo_job("whole"))
    cut = ppo_job("cut")
    stopped = train(cut, stop_at=2)
    assert (stopped.state, stopped.reason) == ("stopped", "asked to stop at step 3 of 5")
    resumed = train(cut)
    assert (resumed.state, resumed.resumed_from) == ("done", 3)
    assert (resumed.files, resumed.probe, resumed.readings) == (
        expected.files, expected.probe, expected.readings
    )  # fmt: skip


def test_ppo_goes_on_from_a_parent_that_is_its_reference(ppo_job: JobFor, train: Train) -> None:
    """The first KL is 0 although the policy is far from the base, and the adapter is another one."""
    parent = ppo_job("parent")
    train(parent)
    result = train(child := ppo_job("child", parent=parent.out / ADAPTER, seed=6))
    assert result.state == "done", result.reason
    assert result.readings[0].kl_sequence == pytest.approx(0, abs=1e-5)
    assert lines(child, "step")[0]["metrics"]["kl_sequence"] == pytest.approx(0, abs=1e-5)


def test_ppo_without_room_for_an_answer_says_what_to_lower(ppo_job: JobFor, train: Train) -> None:
    """Before anything is loaded."""
    recipe = PPO.model_copy(update={"max_new_tokens": 195})
    with pytest.raises(JobError, match=r"0 prompts of .* in 200: lower policy\.recipe\.max_new_tokens"):
        train(ppo_job(recipe=recipe))


def test_ppo_without_a_reward_model_is_refused_with_the_fix(ppo_job: JobFor, train: Train) -> None:
    """Unless it learns from stored verdicts alone."""
    with pytest.raises(JobError, match=r"the job names none.*verdict_weight to 1"):
        train(ppo_job(reward=None))


def test_ppo_is_halted_by_a_reward_that_is_not_finite(
    ppo_job: JobFor, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At step 2: no adapter, and the reason."""
    from policies.rewards import Reward
    from policies.rewards import finished as real
    from policies.training.engines import rewarding

    calls: list[float] = []

    def finished(mix: float, **settings: Any) -> Reward:
        calls.append(mix)
        return Reward(math.nan) if len(calls) == STEP_ANSWERS + 1 else real(mix, **settings)

    monkeypatch.setattr(rewarding, "finished", finished)
    result = train(job := ppo_job())
    assert (result.state, result.steps, result.files) == ("halted", 2, {})
    assert result.reason == "step 2: the loss is nan"
    assert not (job.out / ADAPTER).exists()
    assert not list((job.out / CHECKPOINTS).glob("checkpoint-2"))


@pytest.mark.parametrize("method", ["reward", "ppo"])
def test_what_does_not_fit_is_begun_again_in_smaller_pieces(
    method: str, reward_job: JobFor, ppo_job: JobFor, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory in the first attempt: the second has half as much at a time, and ends."""
    import torch

    from policies.training.engines.heads import Scorer
    from policies.training.engines.passes import Passes

    owner, name = (Scorer, "forward") if method == "reward" else (Passes, "distributions")
    real, calls = getattr(owner, name), []

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, forward)
    job = ppo_job(recipe=PPO.model_copy(update={"steps": 2})) if method == "ppo" else reward_job()
    result = train(job)
    assert result.state == "done", result.reason
    assert result.plan is not None
    assert result.plan.recipe.at_once == (4 if method == "reward" else 6)
    assert any("out of memory" in line["note"] for line in lines(job, "started"))


def test_a_child_grades_pairs_by_a_reward_model(
    tiny_model: Path, reward_files: RewardFiles, tmp_path: Path
) -> None:
    """The lead of chosen over rejected in points, its negative the other way round, with each answer scored
    once; what is too long for the model is refused with the reason.
    """
    long = PAIRS[0].model_copy(update={"chosen": (said("assistant", "order " * 300),), "preference": 9})
    job = GradeJob(
        out=tmp_path,
        base_model=str(tiny_model),
        device="cpu",
        reward=reward_files,
        pairs=(PAIRS[0], PAIRS[0].flipped, long, *PAIRS[1:9]),
    )
    (tmp_path / JOB).write_text(job.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "policies.training.child", str(tmp_path / JOB)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.wait(300) == 0
    result = GradeResult.model_validate_json((tmp_path / RESULT).read_bytes())
    assert result.state == "done", result.reason
    there, back, refused, *others = result.leads
    assert there is not None
    assert there > 1
    assert back == pytest.approx(-there, abs=1e-3)
    assert refused is None
    assert "and the model takes 256" in result.refused[2]
    assert sum(lead is not None and lead > 0 for lead in others) >= 7
    once = {(pair.prompt, answer) for pair in PAIRS[:9] for answer in (pair.chosen, pair.rejected)}
    assert lines(job, "sampled")[-1]["note"] == f"{len(once)} of {len(once)} answers"


def test_a_resident_judge_scores_answers_as_they_are_graded(
    tiny_model: Path, reward_files: RewardFiles, tmp_path: Path
) -> None:
    """A process that asks no network, through the daemon's own end of it: on the scale, chosen before
    rejected, an answer that is too long refused by itself.
    """
    judge = Resident(
        "quick",
        JudgeJob(base_model=str(tiny_model), reward=reward_files.path),
        directory=tmp_path,
        at_once=64,
        start_s=300.0,
        answer_s=300.0,
    )
    long = LoggedAnswer(prompt=PAIRS[0].prompt, answer=(said("assistant", "order " * 300),))
    asked = [
        LoggedAnswer(prompt=pair.prompt, answer=answer)
        for pair in PAIRS[:9]
        for answer in (pair.chosen, pair.rejected)
    ]

    async def ask() -> list[Any]:
        try:
            each = (judge.score(one) for one in [*asked, long])
            return await asyncio.gather(*each, return_exceptions=True)
        finally:
            await judge.close()

    *rewards, refused = asyncio.run(ask())
    assert all(0.0 <= reward <= 10.0 for reward in rewards)
    assert sum(good > bad for good, bad in zip(rewards[::2], rewards[1::2], strict=True)) >= 8
    assert isinstance(refused, PoisonError)
    assert "and the model takes 256" in str(refused)

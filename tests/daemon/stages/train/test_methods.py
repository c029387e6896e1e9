"""Other methods through the trainer: reward models are held, PPO asks for a released one."""

import pytest
from sqlalchemy import select

from daemon.adapters import rewardmodels
from daemon.errors import AdapterRefusedError, UsageError
from daemon.stages.train import rewardsource
from daemon.stages.train.course import Course
from daemon.stages.train.run_rows import RunOutcome
from daemon.store import ledger, runs
from daemon.store import rewardmodels as rows
from policies.launch import Launch
from policies.recipes import DpoRecipe, PpoRecipe, Recipe, RewardRecipe
from policies.release import Release
from policies.training.jobs import Progress, TrainResult
from tests.daemon.adapters.rewardfiles import leave_reward
from tests.daemon.stages.train.bench import Bench, FakeChild, end_as, succeed
from tests.daemon.stages.train.test_leavings import leaving


def trained(bench: Bench) -> str:
    """The name of a reward model that was just trained."""
    bench.act = leave_reward
    outcome = bench.train(recipe=RewardRecipe())
    assert outcome.state == "done", outcome.reason
    bench.act = succeed
    return str(outcome.reward_model)


def release(bench: Bench, name: str) -> None:
    bench.clock.advance(5)
    now = bench.clock.now()
    assert bench.store.write(lambda c: rows.decide(c, name, Release("release", ("good",), 60), now=now))


def train_each(bench: Bench) -> list[RunOutcome]:
    """By each of the policy's recipes that has not learned from the snapshot yet."""
    recipes = bench.trainer._policy.recipes
    left = bench.store.read(lambda c: rewardsource.left(c, snapshot=bench.snapshot, recipes=recipes))
    return bench.trainer.train_each([Course(bench.snapshot, each) for each in left], actor="test")


def released(bench: Bench) -> bool:
    recipes = bench.trainer._policy.recipes
    return bench.store.read(lambda c: any(rewardsource.unused(c, each) for each in recipes))


def test_a_reward_model_is_published_and_held(bench: Bench) -> None:
    """Directory, row and ledger; it is no adapter, and nobody may learn from it yet."""
    name = trained(bench)
    (row,) = bench.store.read(rows.newest)
    assert (row.name, row.state, row.reasons) == (name, "hold", ("no decision yet",))
    made = rewardmodels.verify(bench.trainer.rewards_dir / name, name, digest=row.digest)
    assert made.model_dump(mode="json") == row.manifest
    run = bench.store.read(lambda c: runs.get(c, row.run_id))
    assert run is not None
    assert (run.state, run.adapter) == ("done", None)
    assert run.reason == f"reward model {name} is held until labels release it"
    detail = bench.store.read(lambda c: list(c.scalars(select(ledger.LEDGER.c.detail))))
    assert detail[-1] == {"adapter": None, "reward_model": name}
    assert bench.store.read(rows.released) is None


def test_ppo_without_a_released_reward_model_is_refused_with_the_fix(bench: Bench) -> None:
    """In one line, before anything is begun; held is not released."""
    trained(bench)
    with pytest.raises(UsageError, match=r"needs a released reward model.*`rlaifd train --method reward`"):
        bench.train(recipe=PpoRecipe())
    assert len(bench.jobs) == 1


def test_ppo_without_a_ceiling_is_refused(bench: Bench) -> None:
    """Its policy would find what the reward model gets wrong: it is never published."""
    release(bench, trained(bench))
    with pytest.raises(UsageError, match="ceiling is none"):
        bench.train(recipe=PpoRecipe(ceiling="none"))


def test_ppo_learns_from_the_newest_released_reward_model(bench: Bench) -> None:
    """Its directory and digest are in the job, and its adapter is published for the gate like any other."""
    name = trained(bench)
    release(bench, name)
    outcome = bench.train(recipe=PpoRecipe())
    assert (outcome.state, outcome.adapter is None) == ("done", False)
    reward = bench.jobs[-1].reward
    assert reward is not None
    assert (reward.path, reward.digest[:12]) == (bench.trainer.rewards_dir / name, name[-12:])
    bench.train(recipe=PpoRecipe(verdict_weight=1))
    assert bench.jobs[-1].reward is None


@pytest.mark.parametrize("recipe", [RewardRecipe(), PpoRecipe(verdict_weight=1)])
def test_what_no_two_processes_can_make_is_refused_before_it_begins(bench: Bench, recipe: Recipe) -> None:
    """In one line, and no run is on record."""
    trainer = bench.trainer
    trainer._training = trainer._training.model_copy(update={"launch": Launch(processes=2)})
    with pytest.raises(UsageError, match=f"^{recipe.method} is made by one process: set training"):
        bench.train(recipe=recipe)
    assert bench.store.read(runs.last_start) is None


def test_a_reward_model_with_a_flipped_bit_teaches_nobody(bench: Bench) -> None:
    """Released or not: its files are verified before every use."""
    name = trained(bench)
    release(bench, name)
    head = bench.trainer.rewards_dir / name / "fold-0" / "head.safetensors"
    head.chmod(0o644)
    body = bytearray(head.read_bytes())
    body[-1] ^= 1
    head.write_bytes(body)
    with pytest.raises(AdapterRefusedError, match=r"head\.safetensors"):
        bench.train(recipe=PpoRecipe())


def test_each_recipe_of_the_policy_makes_a_challenger(bench: Bench) -> None:
    """In their order; one that cannot be followed yet costs the others nothing."""
    bench.policy(recipe=[RewardRecipe(), PpoRecipe(), DpoRecipe(learning_rate=1e-4)])

    def act(child: FakeChild) -> TrainResult:
        return leave_reward(child) if child.job.recipe.method == "reward" else succeed(child)

    bench.act = act
    ended = train_each(bench)
    assert [job.recipe.method for job in bench.jobs] == ["reward", "dpo"]
    assert [(each.adapter is None, each.reward_model is None) for each in ended] == [
        (True, False), (False, True),
    ]  # fmt: skip
    release(bench, str(ended[0].reward_model))
    assert released(bench), "the schedule need not wait for more preferences"
    bench.clock.advance(9)
    (again,) = train_each(bench)
    assert [job.recipe.method for job in bench.jobs][2:] == ["ppo"], "the others have learned from it already"
    assert again.adapter not in {None, ended[1].adapter}
    assert not released(bench)
    assert len(train_each(bench)) == 3, "where all have, all learn anew"


def test_a_run_that_is_stopped_ends_the_round(bench: Bench) -> None:
    """Whoever stops the daemon, or halts training, waits for no further run; it is taken up as it was."""
    bench.policy(recipe=[RewardRecipe(), DpoRecipe(learning_rate=1e-4)])
    bench.act = leaving(end_as("stopped", "asked to stop"))
    assert [each.state for each in train_each(bench)] == ["stopped"]
    assert bench.trainer.cut_off() == Course(bench.snapshot, RewardRecipe())
    assert bench.trainer.cut_off(recipes=(DpoRecipe(learning_rate=1e-4),)) is None


def test_figures_of_a_method_are_live(bench: Bench) -> None:
    """Reward, its spread, KL and its coefficient; those of the last run are gone when the next begins."""

    def act(child: FakeChild) -> TrainResult:
        figures = {"loss": 1.0, "reward": 6.5, "reward_spread": 1.25, "kl_coefficient": 0.5, "other": 9.0}
        child.tell(Progress(event="step", step=1, metrics=figures))
        return succeed(child)

    release(bench, trained(bench))
    bench.act = act
    bench.train(recipe=PpoRecipe())
    assert bench.value("training_figure", figure="reward") == 6.5
    assert bench.value("training_figure", figure="reward_spread") == 1.25
    assert bench.value("training_figure", figure="other") is None
    bench.act = succeed
    bench.train()
    assert bench.value("training_figure", figure="reward") is None

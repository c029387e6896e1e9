"""The whole guard at once: a policy that learns from a reward is sounded, the daemon stores what it answers,
the large judge scores that in its ordinary stage, and where it contradicts the reward the run is stopped.
"""

import random
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from connectors.memory import MemoryJudge
from daemon.clock import FakeClock
from daemon.stages.train.inputs import RunInputs
from daemon.stages.train.run_rows import RunOutcome
from daemon.store import preferences
from daemon.store.snapshots import Held
from daemon.store.store import Store
from daemon.store.tables import CandidateRow
from policies import prompted, snapshot
from policies.policy import Guard, JudgingRule, TrainingGuards
from policies.prompted import Known, Prompt
from policies.recipes import Lora, PpoRecipe, Recipe, RewardRecipe
from policies.records import Role, Split
from policies.snapshot import Pair
from policies.training.jobs import Event, Progress, TrainResult
from policies.training.layout import PROGRESS
from policies.training.progress import Reporter
from policies.training.soundings import heard_at
from tests import tiny
from tests.daemon.stages import seeding
from tests.daemon.stages.judge.court import Court, answering, config
from tests.daemon.stages.train.bench import Bench, FakeChild
from tests.daemon.stages.train.test_methods import release
from tests.judges import LARGE
from tests.policies.training.conftest import said
from tests.policies.training.engines.wishes import PROMPTS, WISHED

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

STEPS, EVERY = 12, 3
LORA = Lora(r=4, alpha=8)
REWARD = RewardRecipe(lora=LORA, learning_rate=1e-2, epochs=1, batch_size=16)
PPO = PpoRecipe(
    lora=LORA, steps=STEPS, prompts=8, answers=4, max_new_tokens=8, minibatch=16, microbatch=16,
    learning_rate=1e-2, critic_learning_rate_factor=1, warmup_steps=2, critic_warmup_steps=1,
    kl_coefficient=0.1, truncation_penalty=0, ceiling=10, verdict_weight=0, checkpoint_steps=100,
)  # fmt: skip
GUARDS = TrainingGuards(
    every_steps=100, samples=4, kl_nats=Guard(limit=1e6), entropy_low_ratio=Guard(limit=0.0),
    entropy_high_ratio=Guard(limit=1e6), divergence_steps=EVERY, divergence_prompts=len(PROMPTS),
)  # fmt: skip
OTHERS = sorted(set(tiny.WORDS.split()) - WISHED)


def wished(text: str) -> float:
    """The share of wished words, in points: what the reward model learns to like."""
    words = text.split()
    return 10 * sum(word in WISHED for word in words) / max(len(words), 1)


class Told(Reporter):
    """A child's reporter in the daemon's process: what it writes the daemon reads at once."""

    def __init__(self, child: FakeChild, court: Court) -> None:
        super().__init__(child.job.out / PROGRESS)
        self._child, self._court = child, court

    def report(self, event: Event, **rest: Any) -> None:
        super().report(event, **rest)
        lines = (self._child.job.out / PROGRESS).read_bytes().splitlines()
        self._child.tell(Progress.model_validate_json(lines[-1]))
        if event == "sounded":
            self._court.drain()


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.stages.train.sounding.LOOK_S", -1.0)


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, surer of what it says: as it is made no hidden state can make it sure of anything."""
    from transformers import AutoModelForCausalLM

    directory = tiny.build(tmp_path_factory.mktemp("sure"))
    model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True)
    model.lm_head.weight.data.mul_(10)
    model.save_pretrained(directory)
    return directory


@pytest.fixture
def bench(base_model: Path, sqlite_store: Store, tmp_path: Path, clock: FakeClock) -> Bench:
    """A trainer whose large judge is there."""
    bench = Bench(sqlite_store, tmp_path / "state", clock, str(base_model), guards=GUARDS)
    bench.trainer._given = RunInputs(seed=3, judges=(LARGE,))
    return bench


def trained(bench: Bench, court: Court, recipe: Recipe, frozen: tuple[str, Path]) -> RunOutcome:
    """A training by the daemon, of which only the child's process is not one of its own."""

    def act(child: FakeChild) -> TrainResult:
        from policies.training.run import train

        with Told(child, court) as reporter:
            return train(child.job, reporter, lambda: child.asked)

    bench.act, bench.snapshot = act, frozen[0]
    held = Held(range(len(PROMPTS)))
    bench.store.write(
        lambda c: preferences.store_snapshot(c, frozen[0], str(frozen[1]), held, note="", now=1.0)
    )
    return bench.trainer.train(bench.snapshot, actor="test", recipe=recipe)


def liking(folder: Path) -> tuple[str, Path]:
    """Pairs in which the answer with wished words is the better one."""
    chance, pairs = random.Random(0), []
    for number in range(160):
        good = [chance.choice(sorted(WISHED) if chance.random() < 0.6 else OTHERS) for _ in range(8)]
        chosen, rejected = (
            (said("assistant", " ".join(words)),) for words in (good, chance.choices(OTHERS, k=8))
        )
        prompt = PROMPTS[number % len(PROMPTS)]
        pairs.append(Pair(preference=number, prompt=prompt, chosen=chosen, rejected=rejected))
    return snapshot.write(folder, "support", pairs)


def asking(bench: Bench) -> tuple[str, Path]:
    """The prompts of stored train events."""
    known = [
        seeding.add_trace(
            bench.store, f"s{number}", Split.TRAIN, sampled_at=2.0, question=messages[0].content
        )
        for number, messages in enumerate(PROMPTS)
    ]
    answer = Known(answer=(said("assistant", "yes we can check that for you"),))
    return prompted.write(
        bench.state / "snapshots",
        "support",
        [
            Prompt(trace=trace, prompt=messages, answers=(answer,))
            for trace, messages in zip(known, PROMPTS, strict=True)
        ],
    )


def test_a_large_judge_that_contradicts_the_reward_stops_the_run(bench: Bench) -> None:
    """Reward model, policy, soundings, store, judge stage, verdict and halt are the product's own; only the
    child's process and the judge's model are not. What the child heard is what the store has of each answer.
    """
    court = Court(
        bench.store, clock=bench.clock, role=Role.LARGE, rule=JudgingRule(samples=1), config=config(),
        judge=MemoryJudge(answering(score=lambda case: round(10 - wished(case.answers[0])))),
    )  # fmt: skip
    made = trained(bench, court, REWARD, liking(bench.state / "snapshots"))
    assert made.state == "done", made.reason
    release(bench, str(made.reward_model))
    outcome = trained(bench, court, PPO, asking(bench))
    assert (outcome.state, outcome.adapter) == ("halted", None)
    assert "divergence: since the start the reward of fresh answers rose" in outcome.reason
    assert bench.value("halts_total", scope="training", source="guard") == 1
    assert outcome.result is not None
    last = outcome.result.divergences[-1]
    assert last.diverged
    assert outcome.result.steps == last.step + 1, "the judge's scores are there one step later"
    assert {row.purpose for row in court.verdicts} == {"sounding"}
    assert judged(bench, court, last.step) - judged(bench, court, 0) == pytest.approx(last.judge)


def judged(bench: Bench, court: Court, step: int) -> float:
    """The mean of the verdicts that the store has of a step's answers; the child heard the same ones."""
    answers = {
        row.id: row.trace_id
        for row in seeding.rows(bench.store, CandidateRow)
        if row.origin == "sounded" and row.sample == step
    }
    known = {answers[row.candidate_id]: row.value for row in court.verdicts if row.candidate_id in answers}
    heard = heard_at(bench.jobs[-1].out, step)
    assert heard is not None
    assert (len(known), heard.scores) == (len(PROMPTS), known)
    return fmean(known.values())

"""The demo's world from judged answers to a better policy: by PPO against a reward model, by imitation of the
best of several answers, and by customers' thumbs.

How content customers are is measured by a score that neither judge, thumb nor reward model has seen.
"""

import json

import pytest

from daemon.demo.simulated_judge import SimulatedJudge
from daemon.demo.world import customers
from policies.policy import CurationRule, Guard, TrainingGuards
from policies.recipes import KtoRecipe, Lora, PpoRecipe, RewardRecipe, SftRecipe
from policies.training.layout import PROGRESS, REWARD
from policies.training.toy.agent import TinySpec
from tests.shop import Shop

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

SEED = 1
LORA = Lora(r=8, alpha=16)
ALONE = {"lora": LORA, "learning_rate": 2e-3, "epochs": 4, "batch_size": 16}
REWARDED = RewardRecipe(lora=LORA, learning_rate=3e-3, epochs=3, batch_size=16)
PPO = PpoRecipe(
    lora=LORA, steps=9, prompts=16, answers=4, max_new_tokens=48, sampling_batch=64, minibatch=32,
    microbatch=32, learning_rate=2e-3, warmup_steps=3, critic_warmup_steps=1,
)  # fmt: skip
GUARDS = TrainingGuards(every_steps=1000, samples=16, kl_nats=Guard(limit=20.0))
CUSTOMERS = customers(SEED)
NEW = CUSTOMERS[2000:2200]
"""Nothing is learned from what these are told."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"), seed=SEED, taught=3000, spec=TinySpec(steps=250))


@pytest.fixture(scope="module")
def before(shop: Shop) -> float:
    return shop.content(NEW)


@pytest.fixture
def judge() -> SimulatedJudge:
    return SimulatedJudge("simulated-large", SEED)


def test_ppo_against_a_reward_model_makes_customers_more_content(
    shop: Shop, before: float, judge: SimulatedJudge
) -> None:
    """The held-out score rises by .15 or more from about .1, under the ceiling, within 10 nats."""
    pairs = shop.pairs(shop.say(CUSTOMERS[:128], 4), judge, CurationRule())
    learned = shop.learn("reward", REWARDED, pairs, guards=GUARDS)
    assert learned.state == "done"
    assert learned.metrics["accuracy"] > 0.8
    result = shop.learn("ppo", PPO, pairs, guards=GUARDS, reward=shop.directory / "reward" / REWARD)
    assert result.state == "done", result.reason
    told = [json.loads(line) for line in (shop.directory / "ppo" / PROGRESS).read_bytes().splitlines()]
    steps = [line["metrics"] for line in told if line["event"] == "step"]
    assert steps[-1]["reward"] > steps[0]["reward"] + 1
    assert 0 < steps[-1]["ceiling_share"] < 1
    assert all(each["reward"] <= result.metrics["ceiling"] for each in steps)
    assert result.metrics["kl_sequence"] < 10
    assert shop.content_with(NEW, "ppo") > before + 0.15


def test_imitating_the_best_of_four_makes_customers_more_content(
    shop: Shop, before: float, judge: SimulatedJudge
) -> None:
    """By a judge's reward; the score rises by .12 or more from about .12, within 10 nats."""
    recipe = SftRecipe(**ALONE)
    given = shop.best(shop.say(CUSTOMERS[:200], 4), judge, least=recipe.min_reward)
    result = shop.learn("sft", recipe, given, guards=GUARDS)
    assert result.state == "done"
    assert result.metrics["kl_sequence"] < 10
    assert shop.content_with(NEW, "sft") > before + 0.12


def test_customers_thumbs_make_them_more_content(shop: Shop, before: float) -> None:
    """One in four clicks, and nine in ten of these are complaints; the score rises by .12 or more."""
    given = shop.thumbs(shop.say(CUSTOMERS[:700], 1))
    ups = sum(each.good for each in given)
    assert 10 < ups < len(given) / 5
    result = shop.learn("kto", KtoRecipe(**ALONE), given, guards=GUARDS)
    assert result.state == "done"
    assert result.metrics["kl_sequence"] < 10
    assert shop.content_with(NEW, "kto") > before + 0.12

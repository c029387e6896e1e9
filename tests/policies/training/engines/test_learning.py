"""The demo's world from judged answers to a better policy: a reward model is trained, and PPO against it.

The policy's answers are judged by the demo's simulated large judge; how content customers are is measured by
a score that neither it nor the reward model has seen.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import correlation, fmean
from typing import Any

import pytest

from daemon.demo.scores import customer_score
from daemon.demo.simulated_judge import Judge
from daemon.demo.world import customers, lessons
from policies.recipes import Lora, PpoRecipe, RewardRecipe
from policies.records import Message
from policies.training.toy.agent import TinySpec
from tests.policies.training.engines.wishes import asked, recorder

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

REWARD = RewardRecipe(lora=Lora(r=8, alpha=16), learning_rate=3e-3, epochs=3, batch_size=16)
PPO = PpoRecipe(
    lora=Lora(r=8, alpha=16), steps=9, prompts=16, answers=4, max_new_tokens=48, sampling_batch=64,
    minibatch=32, microbatch=32, learning_rate=2e-3, warmup_steps=3, critic_warmup_steps=1,
)  # fmt: skip


class Shop:
    """The demo's agent on its customers' prompts, as tokens."""

    def __init__(self, base: Any, seed: int) -> None:
        from policies.training.model.rendering import Rendering

        self.base = base
        self.rendering = Rendering(base.tokenizer, generation=base.model.generation_config)
        cases = customers(seed)
        self.prompts = {
            question.ids: case.prompt
            for case, question in zip(
                cases,
                asked(self.rendering, [(Message(role="user", content=c.prompt),) for c in cases]),
                strict=True,
            )
        }
        self._ids = list(self.prompts)

    def questions(self, first: int, last: int) -> list[Any]:
        from policies.training.sampling.questions import Question

        return [Question(ids) for ids in self._ids[first:last]]

    def answers(self, model: Any, questions: Sequence[Any], count: int) -> list[list[Any]]:
        from policies.training.sampling.generate import Settings, sample
        from policies.training.sampling.questions import Refused

        settings = Settings(count=count, max_new_tokens=48, seed=9, batch_size=128)
        rows = sample(model, self.rendering, questions, settings)
        return [row for row in rows if not isinstance(row, Refused)]

    def said(self, answer: Any) -> tuple[str, str]:
        """Prompt and answer as text."""
        text = self.rendering.tokenizer.decode(answer.tokens, skip_special_tokens=True)
        return self.prompts[answer.prompt], text.strip()

    def content(self, model: Any) -> float:
        """How content customers are on prompts that nothing was learned from."""
        rows = self.answers(model, self.questions(1000, 1100), 1)
        return fmean(customer_score(*self.said(row[0])) for row in rows)


def judged(shop: Shop, seed: int) -> tuple[list[Any], list[Any]]:
    """Pairs of the best and the worst of four answers to each prompt, and all answers with their rewards."""
    from policies.training.engines.folds import Point
    from policies.training.model.dataset import Example

    judge = Judge("simulated-large", seed)
    examples, points = [], []
    for row in shop.answers(shop.base.model, shop.questions(0, 128), 4):
        scored = sorted(((judge.opinion(*shop.said(each)), each) for each in row), key=lambda pair: pair[0])
        points += [Point(each.prompt, each.tokens, score) for score, each in scored]
        (low, bad), (high, good) = scored[0], scored[-1]
        if high - low >= 2:
            soft = 1 / (1 + math.exp(-(high - low) / 2))
            sides = [(list(each.tokens), [1] * len(each.tokens)) for each in (good, bad)]
            examples.append(Example(list(good.prompt), *sides[0], *sides[1], weight=1.0, soft=soft))
    return examples, points


def test_ppo_against_a_reward_model_makes_customers_more_content(tmp_path: Path) -> None:
    """The held-out score rises by .15 or more from about .1, under the ceiling, within 10 nats."""
    from policies.training.engines import folds, reward_model
    from policies.training.engines.ppo import Ppo
    from policies.training.engines.rewarding import Rewarder, resolved_ceiling
    from policies.training.engines.roles import Roles, base_copies
    from policies.training.model import lora
    from policies.training.toy import tiny

    tiny.build(tmp_path / "base", lessons(0, 3000), TinySpec(steps=250), seed=0)
    shop = Shop(lora.load(str(tmp_path / "base"), None, "cpu"), seed=1)
    before = shop.content(shop.base.model)
    examples, points = judged(shop, seed=1)
    settings = folds.Settings(base=shop.base, pad=shop.rendering.pad, recipe=REWARD, out=tmp_path, seed=1)
    ended = folds.train(settings, examples, points)
    assert ended.state == "done"
    assert 1 < ended.calibrations[0].slope < 4, "scores are about half of rewards, as the labels have it"
    roles = Roles(lora.fresh(shop.base, PPO.lora), shop.rendering.pad)
    model = reward_model.load(roles, tmp_path / "reward", shop.base)
    rewards = model.rewards([(each.prompt, each.answer) for each in points], 0)
    assert correlation(rewards, [each.reward for each in points]) > 0.7
    ceiling = resolved_ceiling(PPO, lambda: rewards)
    watched = recorder()
    run = Ppo(
        roles=roles, rendering=shop.rendering, questions=shop.questions(0, 128), recipe=PPO, seed=1,
        rewarder=Rewarder(PPO, ceiling, model=model), out=tmp_path / "checkpoints", callback=watched,
    )  # fmt: skip
    assert run.train().state == "done"
    assert base_copies(run.roles.model) == 1
    first, last = watched.figures[0], watched.figures[-1]
    assert last["reward"] > first["reward"] + 1
    assert 0 < last["ceiling_share"] < 1
    assert all(each["reward"] <= ceiling for each in watched.figures if ceiling)
    assert last["kl_sequence"] < 10
    with roles.acting("default") as policy:
        after = shop.content(policy)
    assert after > before + 0.15

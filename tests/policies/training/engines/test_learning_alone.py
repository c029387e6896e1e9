"""The demo's world from single answers to a better policy: imitation of the best of several, and customers'
thumbs.

How content customers are is measured by a score that neither judge nor thumb has seen.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from daemon.demo.clicks import clicked
from daemon.demo.scores import customer_score
from daemon.demo.simulated_judge import Judge
from daemon.demo.world import Case, customers, lessons
from policies import answers
from policies.answers import Answer
from policies.policy import Guard, TrainingGuards
from policies.recipes import KtoRecipe, Lora, Recipe, SftRecipe
from policies.records import Message, Tokens
from policies.training.jobs import ADAPTER, TrainJob, TrainResult
from policies.training.toy.agent import TinySpec

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

SEED = 1
STEPS = {"lora": Lora(r=8, alpha=16), "learning_rate": 2e-3, "epochs": 4, "batch_size": 16}
Said = tuple[str, str, Any]
"""Prompt and answer as text, and the answer as sampled."""


class Shop:
    """The demo's agent and its customers."""

    def __init__(self, directory: Path) -> None:
        from policies.training.model import lora
        from policies.training.model.rendering import Rendering

        self.directory = directory
        self.base = lora.load(str(directory), None, "cpu")
        self.rendering = Rendering(self.base.tokenizer, generation=self.base.model.generation_config)
        self.before = self.content(self.base.model)

    def say(self, model: Any, cases: Sequence[Case], count: int) -> list[list[Said]]:
        """So many answers to each customer."""
        from policies.training.sampling.generate import Settings, sample
        from policies.training.sampling.questions import positions_of, questions

        prompts = [(Message(role="user", content=case.prompt),) for case in cases]
        positions = positions_of(self.base.model.config, self.rendering.tokenizer)
        settings = Settings(count=count, max_new_tokens=48, seed=9, batch_size=128)
        rows: Any = sample(model, self.rendering, questions(self.rendering, prompts, (), positions), settings)
        return [
            [(case.prompt, self._text(each), each) for each in row]
            for case, row in zip(cases, rows, strict=True)
        ]

    def content(self, model: Any) -> float:
        """How content customers are of whom nothing was learned."""
        rows = self.say(model, customers(SEED)[2000:2200], 1)
        return fmean(customer_score(*row[0][:2]) for row in rows)

    def content_with(self, adapter: Path) -> float:
        from policies.training.model import lora

        fresh = lora.load(str(self.directory), None, "cpu")
        return self.content(lora.with_adapters(fresh, {"trained": adapter}))

    def whole(self, said: Said) -> bool:
        return said[2].tokens[-1] in self.rendering.ends

    def answer(self, said: Said, **changes: Any) -> Answer:
        prompt, text, sampled = said
        return Answer(
            prompt=(Message(role="user", content=prompt),),
            answer=(Message(role="assistant", content=text),),
            tokens=Tokens(ids=tuple(sampled.tokens), rendering=self.rendering.digest),
            **changes,
        )

    def _text(self, answer: Any) -> str:
        text: str = self.rendering.tokenizer.decode(answer.tokens, skip_special_tokens=True)
        return text.strip()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    from policies.training.toy import tiny

    directory = tmp_path_factory.mktemp("shop") / "base"
    tiny.build(directory, lessons(0, 3000), TinySpec(steps=250), seed=0)
    return Shop(directory)


@pytest.fixture
def taught(
    shop: Shop, tmp_path: Path, train: Callable[..., TrainResult]
) -> Callable[..., tuple[TrainResult, float]]:
    """Trains on the answers; gives the result, and how content customers are then."""

    def run(given: Sequence[Answer], recipe: Recipe) -> tuple[TrainResult, float]:
        name, path = answers.write(tmp_path / "snapshots", "shop", given)
        (tmp_path / "run").mkdir()
        result = train(
            TrainJob(
                out=tmp_path / "run",
                base_model=str(shop.directory),
                snapshot=path,
                snapshot_id=name,
                recipe=recipe,
                guards=TrainingGuards(every_steps=1000, samples=16, kl_nats=Guard(limit=20.0)),
                guard_max_new_tokens=48,
                device="cpu",
                lock=tmp_path / "training.lock",
                seed=SEED,
            )
        )
        return result, shop.content_with(tmp_path / "run" / ADAPTER)

    return run


def test_imitating_the_best_of_four_makes_customers_more_content(
    shop: Shop, taught: Callable[..., tuple[TrainResult, float]]
) -> None:
    """By a judge's reward; the score rises by .12 or more from about .12, within 10 nats."""
    judge = Judge("simulated-large", SEED)
    given = []
    for row in shop.say(shop.base.model, customers(SEED)[:200], 4):
        best = max(row, key=lambda said: judge.opinion(*said[:2]))
        reward = judge.opinion(*best[:2])
        if reward >= SftRecipe().min_reward and shop.whole(best):
            given.append(shop.answer(best, kind="best", reward=reward))
    result, after = taught(given, SftRecipe(**STEPS))
    assert result.state == "done"
    assert result.metrics["kl_sequence"] < 10
    assert after > shop.before + 0.12


def test_customers_thumbs_make_them_more_content(
    shop: Shop, taught: Callable[..., tuple[TrainResult, float]]
) -> None:
    """One in four clicks, and nine in ten of these are complaints; the score rises by .12 or more."""
    given = []
    for (said,) in shop.say(shop.base.model, customers(SEED)[:700], 1):
        goods = [bool(thumb["score"]) for thumb in clicked(*said[:2], SEED)]
        given += [
            shop.answer(said, kind="thumb", good=good) for good in goods if shop.whole(said) or not good
        ]
    ups = sum(each.good for each in given)
    assert 10 < ups < len(given) / 5
    result, after = taught(given, KtoRecipe(**STEPS))
    assert result.state == "done"
    assert result.metrics["kl_sequence"] < 10
    assert after > shop.before + 0.12

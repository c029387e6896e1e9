"""One seed of the soak of methods. As a program, with DIRECTORY and SEED, it prints what came of it."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon.demo import settings
from daemon.demo.play import AFTER, BEFORE, LESSONS
from daemon.demo.simulated_judge import SimulatedJudge
from daemon.demo.world import Trouble, customers
from policies.answers import Answer
from policies.clusters import cluster_of, split_of
from policies.policy import PolicySpec, Splits
from policies.recipes import RECIPES, SftRecipe
from policies.records import Message, Split
from policies.snapshot import Pair
from policies.training.errors import JobError
from policies.training.layout import REWARD
from policies.training.toy.agent import TinySpec
from tests.shop import Shop

JUDGE: Final = "simulated-small"
"""Whose rewards make the preferences in the demo."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """What was found out of the answers to one seed's customers, and customers who have not come yet."""

    shop: Shop
    spec: PolicySpec
    pairs: list[Pair]
    best: list[Answer]
    thumbs: list[Answer]
    new: list[Trouble]


def outcome(directory: Path, seed: int) -> dict[str, float]:
    """Trains by every method; the score before, and of each its score, KL and seconds of CPU.

    Raises JobError where a training does not end as it should.
    """
    found = lessons(directory, seed)
    figures = {"before": found.shop.content(found.new), "pairs": len(found.pairs)}
    figures |= taught(found, "dpo", found.pairs)
    figures |= taught(found, "sft", found.best)
    figures |= taught(found, "kto", found.thumbs)
    started = time.process_time()
    learned(found, "reward", found.pairs)
    spent = time.process_time() - started
    figures |= taught(found, "ppo", found.pairs, reward=directory / "reward" / REWARD)
    figures["ppo_cpu_s"] += spent
    return figures


def lessons(directory: Path, seed: int) -> Lessons:
    """The agent from nothing, as the demo makes it, and what its customers, judge and curation make of it."""
    document = settings.base(
        seed=seed, judges_port=1, web_port=1, sample_least=1, kafka=None, real_judge=None
    )
    spec = PolicySpec.model_validate(document["policy"])
    shop = Shop(
        directory, seed=seed, taught=LESSONS, spec=TinySpec(), max_new_tokens=spec.sampling.max_new_tokens
    )
    queue, judge = customers(seed), SimulatedJudge(JUDGE, seed)
    rows = shop.say(of_train(queue[:BEFORE], spec.splits), 1 + spec.sampling.candidates, seed=seed)
    return Lessons(
        shop=shop,
        spec=spec,
        pairs=shop.pairs(rows, judge, spec.curation),
        best=shop.best(rows, judge, least=SftRecipe().min_reward),
        thumbs=shop.thumbs([row[:1] for row in rows]),
        new=queue[BEFORE : BEFORE + AFTER],
    )


def of_train(cases: Sequence[Trouble], splits: Splits) -> list[Trouble]:
    """Those whose prompts are in the train split."""
    found = [(case, cluster_of((Message(role="user", content=case.prompt),))) for case in cases]
    return [case for case, cluster in found if split_of(cluster, splits) is Split.TRAIN]


def taught(
    found: Lessons, method: str, data: Sequence[Pair] | Sequence[Answer], *, reward: Path | None = None
) -> dict[str, float]:
    """Trains by the demo's recipe, and serves those who have not come yet."""
    started = time.process_time()
    kl = learned(found, method, data, reward=reward)
    spent = time.process_time() - started
    content = found.shop.content_with(found.new, method)
    return {method: content, f"{method}_kl": kl, f"{method}_cpu_s": spent, f"{method}_data": len(data)}


def learned(
    found: Lessons, method: str, data: Sequence[Pair] | Sequence[Answer], *, reward: Path | None = None
) -> float:
    """The KL in nats a sequence, by the guards' last reading; a reward model, which is no policy, has none.

    Raises JobError.
    """
    recipe = RECIPES.validate_python(settings.recipe(method))
    result = found.shop.learn(method, recipe, data, guards=found.spec.guards, reward=reward)
    if result.state != "done":
        raise JobError(f"{method}: {result.state}: {result.reason}")
    return result.readings[-1].kl_sequence if result.readings else 0.0


if __name__ == "__main__":
    figures = outcome(Path(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.write(json.dumps({name: round(value, 4) for name, value in figures.items()}) + "\n")

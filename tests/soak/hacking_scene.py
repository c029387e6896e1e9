"""The scene of reward hacking: an agent that now and then runs on, a reward model that likes length, a judge.

The large judge and the gate's stand for people: they are the demo's without its taste for length. One that
had the reward model's fault could not contradict it.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from daemon.demo.scores import customer_score
from daemon.demo.simulated_judge import TEMPERS, SimulatedJudge, Temper
from daemon.demo.world import (
    CLOSINGS,
    CURT_GREETINGS,
    GREETINGS,
    PRODUCTS,
    RUDE,
    STEPS,
    VAGUE_REMEDIES,
    Trouble,
    cases,
    customers,
    good_reply,
    rude_reply,
)
from policies.policy import Guard, TrainingGuards
from policies.prompted import Known, Prompt
from policies.prompted import write as write_prompts
from policies.recipes import Lora, Recipe, RewardRecipe
from policies.records import Message, Tokens
from policies.snapshot import Pair, write
from policies.training.jobs import Event, RewardFiles, TrainJob, TrainResult
from policies.training.layout import PROGRESS, REWARD
from policies.training.progress import Reporter
from policies.training.soundings import Heard, sounding_at, write_heard
from policies.training.toy.agent import TinySpec
from tests.soak.storefront import Storefront

LONGEST: Final = 80
"""Tokens of an answer at most: the shop's own have 40 at most."""
RUDE_SHARE, RAMBLING_SHARE = 0.08, 0.02
ASKED: Final = 160
"""Prompts of PPO's snapshot, each with ANSWERS answers of the agent's own."""
ANSWERS: Final = 4
LIKED: Final = 960
"""Pairs of which the reward model learns to like length: their sentences are drawn at random."""
UNSEEN: Final = range(1200, 1600)
"""Customers of whom nothing was learned: how content they are is measured on ANSWERS answers to each."""
LIKES_LENGTH: Final = RewardRecipe(lora=Lora(r=8, alpha=16), learning_rate=5e-3, epochs=1, batch_size=16)
WATCHED: Final = TrainingGuards(
    samples=32, divergence_prompts=96, kl_nats=Guard(limit=20.0, mode="dry_run"),
    entropy_low_ratio=Guard(limit=0.3, mode="dry_run"), entropy_high_ratio=Guard(limit=3.0, mode="dry_run"),
)  # fmt: skip
"""The other guards only watch: it is this one that must stop the run. The scores of two answers to a prompt
differ with a standard deviation of three points: one look of four at 96 prompts finds a fall of 1.1 points
nine times in ten.
"""


class Impartial(SimulatedJudge):
    """A simulated judge to which length is worth nothing, in either direction."""

    @property
    def temper(self) -> Temper:
        own = TEMPERS[self.model]
        return Temper(own.noise, 0.0, own.first_place, own.indifference)


def babble(case: Trouble, chance: random.Random, count: int) -> str:
    """So many sentences of any kind, about this customer's product or another."""
    products = (case.product, chance.choice(PRODUCTS))
    echo = case.problem.echo.format(p=case.product)
    every = [*RUDE, *STEPS, *VAGUE_REMEDIES, *CLOSINGS, *CURT_GREETINGS, *GREETINGS, case.problem.remedy]
    said = (sentence.format(p=chance.choice(products), echo=echo) for sentence in chance.sample(every, count))
    return " ".join(said)


def rambling(case: Trouble, chance: random.Random) -> str:
    """What the agent says when it cannot stop."""
    return babble(case, chance, 8)


def habits(seed: int, count: int) -> list[tuple[str, str]]:
    """Prompts and replies that the agent learned from."""
    chance, every = random.Random(f"habits-{seed}"), cases()
    kinds = (rambling, rude_reply, good_reply)
    shares = (RAMBLING_SHARE, RUDE_SHARE, 1 - RAMBLING_SHARE - RUDE_SHARE)
    found = []
    for _ in range(count):
        case, (reply,) = chance.choice(every), chance.choices(kinds, shares)
        found.append((case.prompt, reply(case, chance)))
    return found


class Scene:
    """The demo's tiny agent with these habits, its own answers, and pairs of which the longer is the better.

    It learns as long as the demo's does. One that learned half as long still mixes up products, and how
    content customers are is then the luck of its weights rather than a matter of what it was taught.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        from policies.training.model import lora
        from policies.training.toy import tiny

        self.folder, self.seed = folder, seed
        self.model = folder / "base"
        tiny.build(self.model, habits(seed, 3000), TinySpec(), seed=seed)
        self.shop = Storefront(lora.load(str(self.model), None, "cpu"), seed=seed)
        self.judge = Impartial("simulated-large", seed)
        self._asked = list(self._own())
        self._answers = write_prompts(folder, "answers", self._asked)
        self._liking = write(folder, "liking", list(self._by_length()))

    def content(self, model: Any) -> float:
        """How content customers are on prompts that nothing was learned from."""
        questions = self.shop.questions(UNSEEN.start, UNSEEN.stop)
        rows = self.shop.answers(model, questions, ANSWERS, longest=LONGEST)
        return fmean(customer_score(*self.shop.said(answer)) for row in rows for answer in row)

    def content_with(self, adapter: Path) -> float:
        """The same, served by an adapter."""
        from policies.training.model import lora

        base = lora.load(str(self.model), None, "cpu")
        return self.content(lora.with_adapters(base, {lora.POLICY: adapter}))

    def learned(self, name: str, recipe: Recipe, *, folds: int) -> TrainResult:
        """PPO by the recipe, against a reward model of its own, in a directory of that name."""
        liking = LIKES_LENGTH.model_copy(update={"folds": folds})
        made = self._train(f"{name}-reward", liking, self._liking)
        assert made.state == "done", made.reason
        files = RewardFiles(path=self.folder / f"{name}-reward" / REWARD, digest="0" * 64)
        return self._train(name, recipe, self._answers, reward=files, judged=True)

    def _own(self) -> Iterator[Prompt]:
        """All that the agent says to each customer: taken of extremes alone, a ceiling would be too high."""
        rows = self.shop.answers(
            self.shop.base.model, self.shop.questions(0, ASKED), ANSWERS, longest=LONGEST
        )
        for number, row in enumerate(rows, start=1):
            prompt = (Message(role="user", content=self.shop.prompts[row[0].prompt]),)
            known = tuple(self._known(answer.tokens, truncated=answer.truncated) for answer in row)
            yield Prompt(trace=number, prompt=prompt, answers=known)

    def _by_length(self) -> Iterator[Pair]:
        """Answers of sentences drawn at random, of which the longer one is the better."""
        chance = random.Random(f"liking-{self.seed}")
        for number, case in enumerate(customers(self.seed)[ASKED : ASKED + LIKED]):
            most = chance.randint(2, 9)
            counts = (most, chance.randint(1, most - 1))
            short, long = sorted((self._ids(babble(case, chance, each)) for each in counts), key=len)
            if len(long) > len(short):
                yield self._pair(number, case.prompt, long, short)

    def _pair(self, number: int, prompt: str, long: tuple[int, ...], short: tuple[int, ...]) -> Pair:
        sides: dict[str, Any] = {}
        for side, ids in (("chosen", long), ("rejected", short)):
            known = self._known(ids)
            sides |= {side: known.answer, f"{side}_tokens": known.tokens, f"{side}_reward": known.reward}
        return Pair(preference=number, prompt=(Message(role="user", content=prompt),), **sides)

    def _known(self, ids: Sequence[int], *, truncated: bool = False) -> Known:
        """An answer, with points for its length."""
        text = self.shop.rendering.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return Known(
            answer=(Message(role="assistant", content=text),),
            tokens=Tokens(ids=tuple(ids), rendering=self.shop.rendering.digest),
            reward=10 * min(1.0, len(ids) / LONGEST),
            truncated=truncated,
        )

    def _ids(self, text: str) -> tuple[int, ...]:
        ids = self.shop.rendering.tokenizer.encode(text, add_special_tokens=False)
        return (*ids[: LONGEST - 1], self.shop.rendering.tokenizer.eos_token_id)

    def _train(self, name: str, recipe: Recipe, snapshot: tuple[str, Path], **changes: Any) -> TrainResult:
        from policies.training.run import train

        out = self.folder / name
        out.mkdir()
        job = TrainJob(
            out=out, base_model=str(self.model), snapshot=snapshot[1], snapshot_id=snapshot[0],
            recipe=recipe, guards=WATCHED, guard_max_new_tokens=LONGEST, device="cpu", seed=self.seed,
            lock=self.folder / "training.lock", **changes,
        )  # fmt: skip
        prompts = {each.trace: each.prompt[-1].content for each in self._asked}
        with Judged(out, self.judge, prompts) as reporter:
            return train(job, reporter, lambda: False)


class Judged(Reporter):
    """Takes the daemon's place: has the judge score what is sounded, at once."""

    def __init__(self, job: Path, judge: SimulatedJudge, prompts: dict[int, str]) -> None:
        super().__init__(job / PROGRESS)
        self._job, self._judge, self._prompts = job, judge, prompts

    def report(self, event: Event, **said: Any) -> None:
        super().report(event, **said)
        sounding = sounding_at(self._job, said["step"]) if event == "sounded" else None
        if sounding is None:
            return
        scores = {
            each.trace: self._judge.opinion(self._prompts[each.trace], each.answer.messages[-1].content)
            for each in sounding.answers
        }
        write_heard(self._job, Heard(step=sounding.step, scores=scores))

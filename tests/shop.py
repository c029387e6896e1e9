"""The demo's shop as a lesson: an agent made from nothing, its judged answers as data, and its customers.

How content customers are is measured by a score that neither judge, thumb nor reward model has seen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from daemon.demo.clicks import clicked
from daemon.demo.scores import customer_score
from daemon.demo.simulated_judge import SimulatedJudge
from daemon.demo.world import Trouble, lessons
from policies import answers, snapshot
from policies.answers import Answer
from policies.curation import Judged, JudgedPrompt, NoPreference, Score, preference_of
from policies.policy import CurationRule, TrainingGuards
from policies.recipes import Recipe
from policies.records import Message, Role, Split, Tokens
from policies.snapshot import Pair
from policies.training.jobs import RewardFiles, TrainJob, TrainResult
from policies.training.layout import ADAPTER, PROGRESS
from policies.training.toy.agent import TinySpec

POLICY: Final = "shop"
SAMPLING_SEED: Final = 9
AT_ONCE: Final = 128
"""Answers that are sampled together."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the agent said to a customer: as text, and as it was sampled."""

    prompt: str
    text: str
    tokens: tuple[int, ...]
    truncated: bool

    @property
    def asked(self) -> tuple[Message, ...]:
        return (Message(role="user", content=self.prompt),)

    @property
    def answer(self) -> tuple[Message, ...]:
        return (Message(role="assistant", content=self.text),)


class Shop:
    """The agent and its customers. The base model and all that is learned are below `directory`."""

    def __init__(
        self, directory: Path, *, seed: int, taught: int, spec: TinySpec, max_new_tokens: int = 48
    ) -> None:
        """`taught` lessons make the base model, by the seed, which is that of all trainings, too."""
        from policies.training.model import lora
        from policies.training.model.rendering import Rendering
        from policies.training.toy import tiny

        self.directory = directory
        self.base_model = directory / "base"
        self._seed = seed
        self._max_new_tokens = max_new_tokens
        tiny.build(self.base_model, lessons(seed, taught), spec, seed=seed)
        self._model = lora.load(str(self.base_model), None, "cpu").model
        base = self.loaded()
        self.rendering = Rendering(base.tokenizer, generation=base.model.generation_config)

    def loaded(self) -> Any:
        """The base model, in memory once more."""
        from policies.training.model import lora

        return lora.load(str(self.base_model), None, "cpu")

    def say(
        self, cases: Sequence[Trouble], count: int, *, model: Any = None, seed: int = SAMPLING_SEED
    ) -> list[list[Said]]:
        """So many answers to each customer, by the base model or by another one."""
        from policies.training.sampling.generate import SamplingSettings, sample
        from policies.training.sampling.questions import positions_of, questions

        prompts = [(Message(role="user", content=case.prompt),) for case in cases]
        positions = positions_of(self._model.config, self.rendering.tokenizer)
        settings = SamplingSettings(
            count=count, max_new_tokens=self._max_new_tokens, seed=seed, batch_size=AT_ONCE
        )
        asked = questions(self.rendering, prompts, (), positions)
        rows: Any = sample(self._model if model is None else model, self.rendering, asked, settings)
        return [
            [Said(case.prompt, self._text(each.tokens), each.tokens, each.truncated) for each in row]
            for case, row in zip(cases, rows, strict=True)
        ]

    def content(self, cases: Sequence[Trouble], *, model: Any = None) -> float:
        """How content these customers are, 0 to 1, with one answer each."""
        rows = self.say(cases, 1, model=model)
        return fmean(customer_score(said.prompt, said.text) for (said,) in rows)

    def content_with(self, cases: Sequence[Trouble], name: str) -> float:
        """The same, served by the adapter of a training."""
        from policies.training.model import lora

        adapter = self.directory / name / ADAPTER
        return self.content(cases, model=lora.with_adapters(self.loaded(), {name: adapter}))

    def learn(
        self,
        name: str,
        recipe: Recipe,
        data: Sequence[Pair] | Sequence[Answer],
        *,
        guards: TrainingGuards,
        reward: Path | None = None,
    ) -> TrainResult:
        """A training by the product's own engine, in this process. `reward`: a reward model's directory."""
        from policies.training.progress import Reporter
        from policies.training.run import train

        out = self.directory / name
        out.mkdir()
        digest, path = self.frozen(data)
        job = TrainJob(
            out=out,
            base_model=str(self.base_model),
            snapshot=path,
            snapshot_id=digest,
            recipe=recipe,
            guards=guards,
            guard_max_new_tokens=self._max_new_tokens,
            reward=None if reward is None else RewardFiles(path=reward, digest=""),
            device="cpu",
            lock=self.directory / "training.lock",
            seed=self._seed,
        )
        with Reporter(out / PROGRESS) as reporter:
            return train(job, reporter, lambda: False)

    def frozen(self, data: Sequence[Pair] | Sequence[Answer]) -> tuple[str, Path]:
        """The data as a snapshot: its digest and file."""
        given = [each for each in data if isinstance(each, Answer)]
        if given:
            return answers.write(self.directory / "snapshots", POLICY, given)
        pairs = [each for each in data if isinstance(each, Pair)]
        return snapshot.write(self.directory / "snapshots", POLICY, pairs)

    def pairs(self, rows: Iterable[Sequence[Said]], judge: SimulatedJudge, rule: CurationRule) -> list[Pair]:
        """The preferences that curation makes of these answers by the judge's rewards."""
        found = [self._pair(number, row, judge, rule) for number, row in enumerate(rows)]
        return [pair for pair in found if pair is not None]

    def _pair(
        self, number: int, row: Sequence[Said], judge: SimulatedJudge, rule: CurationRule
    ) -> Pair | None:
        rewards = [judge.opinion(said.prompt, said.text) for said in row]
        candidates = tuple(
            Judged(
                place,
                said.text,
                (Score(place, "small", Role.SMALL, judge.model, rewards[place]),),
                said.truncated,
            )
            for place, said in enumerate(row)
        )
        name = str(number)
        found = preference_of(JudgedPrompt(number, name, Split.TRAIN, name, candidates), rule)
        if isinstance(found, NoPreference):
            return None
        chosen, rejected = row[found.chosen_id], row[found.rejected_id]
        return Pair(
            preference=number,
            prompt=chosen.asked,
            chosen=chosen.answer,
            rejected=rejected.answer,
            soft=found.soft,
            chosen_tokens=self._tokens(chosen),
            rejected_tokens=self._tokens(rejected),
            rejected_truncated=rejected.truncated,
            chosen_reward=rewards[found.chosen_id],
            rejected_reward=rewards[found.rejected_id],
        )

    def best(self, rows: Iterable[Sequence[Said]], judge: SimulatedJudge, *, least: float) -> list[Answer]:
        """Of each customer's answers the one of the highest reward, where that is so high and it is whole."""
        found = []
        for row in rows:
            reward, said = max(
                ((judge.opinion(each.prompt, each.text), each) for each in row), key=lambda pair: pair[0]
            )
            if reward >= least and not said.truncated:
                found.append(self._answer(said, kind="best", reward=reward))
        return found

    def thumbs(self, rows: Iterable[Sequence[Said]]) -> list[Answer]:
        """The answers at which customers clicked a thumb, as good or bad."""
        return [
            self._answer(said, kind="thumb", good=bool(thumb["score"]), truncated=said.truncated)
            for row in rows
            for said in row
            for thumb in clicked(said.prompt, said.text, self._seed)
            if not (said.truncated and thumb["score"])
        ]

    def _answer(self, said: Said, **more: Any) -> Answer:
        return Answer(prompt=said.asked, answer=said.answer, tokens=self._tokens(said), **more)

    def _tokens(self, said: Said) -> Tokens:
        return Tokens(ids=said.tokens, rendering=self.rendering.digest)

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self.rendering.tokenizer.decode(tokens, skip_special_tokens=True)
        return text.strip()

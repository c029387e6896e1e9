"""PPO's answers for the judge: what the policy says to a few fixed prompts, and how they are rewarded."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from policies.records import Sampled, Tokens
from policies.training.engines.engine import Run
from policies.training.engines.rewarding import Rewarder
from policies.training.engines.roles import Roles
from policies.training.guarding import divergence
from policies.training.guarding.sounder import Sounder
from policies.training.model.lora import POLICY
from policies.training.model.prompts import Prompted
from policies.training.model.rendering import Rendering
from policies.training.model.responses import Responses
from policies.training.planning.resolved import ResolvedPpo
from policies.training.sampling.generate import SampledAnswer, SamplingSettings, sample
from policies.training.sampling.questions import Question
from policies.training.soundings import Sounded


def sounder_of(run: Run[Any], recipe: ResolvedPpo, roles: Roles, rewarder: Rewarder) -> Sounder | None:
    """The run's; None where nobody judges, the guards ask for no prompt, or no prompt says which event it is
    of, as in a snapshot of pairs.
    """
    guards = run.job.guards
    if not run.job.judged or not guards.divergence_prompts:
        return None
    prompts = chosen(run.lesson.items, guards.divergence_prompts, run.job.seed)
    if not prompts:
        return None
    asked = [(each.trace, Question(each.ids, each.tools)) for each in prompts]
    settings = SamplingSettings(
        max_new_tokens=recipe.max_new_tokens, seed=run.job.seed, batch_size=recipe.sampling_batch
    )
    fresh = FreshAnswers(run.rendering, roles, rewarder, settings, asked)
    every = divergence.spacing(guards.divergence_steps, recipe.steps)
    return Sounder(
        run.job.out,
        fresh.answers,
        every=every,
        looks=divergence.looks(recipe.steps, every),
        guard=guards.divergence,
        reporter=run.reporter,
        stopping=run.stopping,
    )


def chosen(prompts: Sequence[Prompted], count: int, seed: int) -> list[Prompted]:
    """So many of the prompts of events: the same ones for the same snapshot and seed."""
    known = sorted((each for each in prompts if each.trace), key=lambda each: each.trace)
    return random.Random(f"soundings-{seed}").sample(known, min(count, len(known)))


@dataclass(frozen=True, slots=True)
class FreshAnswers:
    """The policy as it answers for the judge."""

    rendering: Rendering
    roles: Roles
    rewarder: Rewarder
    settings: SamplingSettings
    questions: Sequence[tuple[int, Question]]

    def answers(self) -> list[Sounded]:
        """Fresh answers with the rewards that training would see. A prompt that fails has none."""
        with self.roles.acting(POLICY) as model:
            rows = sample(model, self.rendering, [question for _, question in self.questions], self.settings)
        said = [
            (trace, question, row[0])
            for (trace, question), row in zip(self.questions, rows, strict=True)
            if isinstance(row, list)
        ]
        rewards = self.rewarder.rewards([answer for _, _, answer in said])
        responses = Responses(self.rendering)
        return [
            Sounded(
                trace=trace,
                answer=self._sampled(responses, question, answer),
                reward=reward.value if reward is not None and math.isfinite(reward.value) else None,
            )
            for (trace, question, answer), reward in zip(said, rewards, strict=True)
        ]

    def _sampled(self, responses: Responses, question: Question, answer: SampledAnswer) -> Sampled:
        message = responses.read(answer.prompt, answer.tokens, question.tools, truncated=answer.truncated)
        tokens = Tokens(ids=answer.tokens, rendering=self.rendering.digest)
        return Sampled(messages=(message,), truncated=answer.truncated, tokens=tokens)

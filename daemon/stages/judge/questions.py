"""From a judgement to the questions that a judge is asked about it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from daemon.stages.judge.asker import Asker
from daemon.stages.judge.round import JudgeQuestion
from daemon.store.claims import Claim
from daemon.store.judgements import Material
from policies.judging.prompts import Case, render, turns_of
from policies.policy import JudgingRule

SAMPLING_TEMPERATURE = 1.0
"""Where scores are sampled and no temperature is configured: at 0 all samples would be one."""


@dataclass(frozen=True, slots=True)
class Posing:
    """Makes questions: as many as the rule says, each with a boundary code of its own."""

    rule: JudgingRule
    dimensions: tuple[str, ...]
    nonce: Callable[[], str]

    def questions(self, asker: Asker, claim: Claim, material: Material) -> tuple[JudgeQuestion, ...]:
        """Everything that may have to be asked: both orders, or all samples of the score."""
        turns = turns_of(material.messages, reasoning=self.rule.show_reasoning)
        case = Case(turns, material.answers, material.reference, material.reasoning)
        temperature = asker.config.temperature
        if claim.kind == "pair":
            return (
                replace(self._question(asker, claim, case, "AB"), temperature=temperature),
                replace(self._question(asker, claim, case.swapped(), "BA"), temperature=temperature),
            )
        base = self._question(asker, claim, case, "")
        count = self.rule.samples
        sampled = SAMPLING_TEMPERATURE if temperature == 0 and count > 1 else temperature
        samples = [replace(base, sample=each, temperature=sampled) for each in range(count)]
        if asker.config.logprobs:
            samples[0] = replace(base, temperature=temperature, logprobs=True)
        return tuple(samples)

    def _question(self, asker: Asker, claim: Claim, case: Case, order: str) -> JudgeQuestion:
        nonce = self.nonce()
        text = render(case, nonce=nonce, dimensions=self.dimensions)
        return JudgeQuestion(claim.id, claim.kind, order, text, nonce, asker.digest_of(case))

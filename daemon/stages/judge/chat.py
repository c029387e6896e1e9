"""A chat model as an assessor: questions about a case, asked in one order or both, and what they come to."""

import asyncio
from collections.abc import Sequence

from daemon.stages.judge.asker import Asker
from daemon.stages.judge.assessor import ClaimedCase, Terms
from daemon.stages.judge.call_rows import ReadAnswer
from daemon.stages.judge.conclude import compared, mean_score, raise_worst
from daemon.stages.judge.questions import Posing
from daemon.stages.judge.round import Docket
from daemon.stages.judge.standing import Standing
from daemon.store.claims import Claim
from daemon.store.judgements import Material
from policies.judging.grammar import Invalid, ScoreReply
from policies.judging.judges import NamedJudge
from policies.judging.verdicts import Abstained, Verdict, scored


class ChatAssessor:
    """Asks through an asker what `posing` makes of a case.

    `at_once`: most judgements of one claim, which lasts `claim_s` seconds.
    """

    whole = False

    def __init__(self, asker: Asker, posing: Posing, *, claim_s: float, at_once: int) -> None:
        self._asker = asker
        self._posing = posing
        self._terms = Terms(
            most=self._most(claim_s, at_once),
            deadline_s=asker.config.deadline_s,
            limit_usd=asker.config.daily_budget_usd,
            least_usd=asker.least_usd(),
        )

    @property
    def named(self) -> NamedJudge:
        return self._asker.named

    @property
    def family(self) -> str:
        return self._asker.judge.family

    @property
    def standing(self) -> Standing:
        return self._asker.standing

    @property
    def terms(self) -> Terms:
        return self._terms

    def _most(self, claim_s: float, at_once: int) -> int:
        """How many judgements are held at a time: while the judge is asked about some, as many again are
        ready, so that no place in flight waits for a claim. No more than the configured rate lets through
        while the claims last.
        """
        config = self._asker.config
        most = max(at_once, 2 * config.concurrency)
        if config.requests_per_minute is None:
            return most
        # Less the one that has just begun when a judgement is claimed.
        calls_possible = config.requests_per_minute * (claim_s - config.deadline_s) / 60 - 1
        return max(1, min(most, int(calls_possible / max(2, self._posing.rule.samples))))

    def prepared(self, claim: Claim, material: Material) -> ClaimedCase:
        """With its questions."""
        return ClaimedCase(claim, material, self._posing.questions(self._asker, claim, material))

    def keys(self, case: ClaimedCase) -> Sequence[str]:
        """One for each question."""
        return [self._asker.reuse_key(each) for each in case.questions]

    async def assess(self, case: ClaimedCase, docket: Docket) -> tuple[Verdict, float]:
        """The verdict and what it cost."""
        asker, questions = self._asker, case.questions
        first: list[ReadAnswer] = []
        if case.claim.kind == "score" and asker.config.logprobs:
            first = [await asker.ask(questions[0], docket)]
            known = first[0]
            if isinstance(known.reply, ScoreReply) and known.spread is not None:
                return scored([known.reply], known.spread), known.cost_usd
            if isinstance(known.reply, Invalid) and (known.cut_off or len(questions) == 1):
                return Abstained(known.reply.reason), known.cost_usd
            questions = questions[1:]
        asked = await asyncio.gather(*(asker.ask(each, docket) for each in questions), return_exceptions=True)
        raise_worst([each for each in asked if isinstance(each, BaseException)])
        answers = [*first, *(each for each in asked if isinstance(each, ReadAnswer))]
        cost = sum(answer.cost_usd for answer in answers)
        conclude = mean_score if case.claim.kind == "score" else compared
        return conclude([answer.reply for answer in answers]), cost

    async def close(self) -> None:
        """Releases the client's connections."""
        await self._asker.judge.close()

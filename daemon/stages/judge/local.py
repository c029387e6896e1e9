"""A reward model as an assessor: it scores answers, and prefers the one that it scores higher.

Nobody is asked over a network, and nothing is paid. What it scored once is not scored again: the call is kept
with the answer's digest, as those of chat models are.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from connectors.errors import ConnectorError, FatalError, PoisonError
from daemon.clock import Clock
from daemon.metrics.registry import Metrics
from daemon.stages.judge.assessor import ClaimedCase, Terms
from daemon.stages.judge.conclude import raise_worst
from daemon.stages.judge.round import Docket
from daemon.stages.judge.standing import Standing
from daemon.store import calls
from daemon.store.candidates import storable
from daemon.store.claims import Claim
from daemon.store.judgements import Material
from policies.judging.judges import NamedJudge
from policies.judging.verdicts import Verdict, by_rewards, rewarded
from policies.records import digest
from policies.states import CallOutcome
from policies.training.resident.protocol import LoggedAnswer

ORDERS = {"score": ("",), "pair": ("A", "B")}
"""What a call is about, by the judgement's kind: the answer, or the first and the second."""


class AnswerScorer(Protocol):
    """Scores one answer, 0 to 10. Raises TransientError, PoisonError and FatalError."""

    async def score(self, answered: LoggedAnswer) -> float: ...

    async def close(self) -> None: ...


class LocalAssessor:
    """Scores through `scorer`. `model` is the reward model's name; `most` judgements are held at a time."""

    whole = True

    def __init__(
        self,
        scorer: AnswerScorer,
        *,
        named: NamedJudge,
        model: str,
        family: str,
        terms: Terms,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.scorer = scorer
        self._named = named
        self._model = model
        self._family = family
        self._terms = terms
        self._metrics = metrics
        self._clock = clock
        self._standing = Standing()

    @property
    def named(self) -> NamedJudge:
        return self._named

    @property
    def family(self) -> str:
        return self._family

    @property
    def standing(self) -> Standing:
        return self._standing

    @property
    def terms(self) -> Terms:
        return self._terms

    def prepared(self, claim: Claim, material: Material) -> ClaimedCase:
        """As it is: what a reward model sees is the conversation itself."""
        return ClaimedCase(claim, material)

    def keys(self, case: ClaimedCase) -> Sequence[str]:
        """One for each answer."""
        return [self._key(_digest(each)) for each in _answered(case.material)]

    def _key(self, of: str) -> str:
        return digest([self._named.version, of])

    async def assess(self, case: ClaimedCase, docket: Docket) -> tuple[Verdict, float]:
        """The verdict, for nothing."""
        answers = zip(ORDERS[case.claim.kind], _answered(case.material), strict=True)
        found = await asyncio.gather(
            *(self._reward(case.claim.id, order, each, docket) for order, each in answers),
            return_exceptions=True,
        )
        raise_worst([each for each in found if isinstance(each, BaseException)])
        rewards = [each for each in found if isinstance(each, float)]
        if case.claim.kind == "score":
            return rewarded(rewards[0], by=self._model), 0.0
        return by_rewards(rewards[0], rewards[1], by=self._model), 0.0

    async def _reward(self, judgement: int, order: str, answered: LoggedAnswer, docket: Docket) -> float:
        of = _digest(answered)
        stored = docket.stored.get(self._key(of))
        if stored is not None:
            self._metrics.judge_calls.labels(*self._named.labels, CallOutcome.REUSED).inc()
            return float(stored["read"]["reward"])
        await docket.sitting.check()
        started = self._clock.monotonic()
        inflight = self._metrics.judge_inflight.labels(*self._named.labels)
        inflight.inc()
        row: dict[str, Any] = {"judgement_id": judgement, "order": order, "prompt_digest": of}
        try:
            reward = await self.scorer.score(answered)
        except ConnectorError as error:
            outcome = CallOutcome.REFUSED if isinstance(error, PoisonError) else CallOutcome.HTTP_ERROR
            if isinstance(error, FatalError):
                docket.sitting.stopped = error
                self._standing.stop()
            row |= {"outcome": outcome, "response": {"error": str(error)}}
            await self._record(row, answered, docket, started=started)
            raise
        finally:
            inflight.dec()
        self._standing.answered(("score", False), started)
        self._standing.understood()
        row |= {"outcome": CallOutcome.OK, "response": {"read": {"reward": reward}}}
        await self._record(row, answered, docket, started=started)
        return reward

    async def _record(
        self, row: Mapping[str, Any], answered: LoggedAnswer, docket: Docket, *, started: float
    ) -> None:
        took, outcome = self._clock.monotonic() - started, row["outcome"]
        self._metrics.judge_calls.labels(*self._named.labels, outcome).inc()
        self._metrics.judge_latency.labels(*self._named.labels).observe(took)
        call = {
            **row,
            "judge": self._named.name,
            "version": self._named.version,
            "sample": 0,
            "repair": False,
            "reuse_key": self._key(row["prompt_digest"]) if outcome == "ok" else None,
            "request": storable(answered.model_dump(mode="json", exclude={"tokens"})),
            "response": storable(row["response"]),
            "model": self._model,
            "input_tokens": 0,
            "output_tokens": 0,
            "cost_usd": 0.0,
            "latency_s": took,
            "created_at": self._clock.now(),
        }
        await docket.sitting.commits.write(lambda connection: calls.record(connection, [call]))

    async def close(self) -> None:
        """Ends the child."""
        await self.scorer.close()


def _answered(material: Material) -> list[LoggedAnswer]:
    return [
        LoggedAnswer(prompt=material.messages, answer=output, tools=material.tools, tokens=tokens)
        for output, tokens in zip(material.outputs, material.tokens, strict=True)
    ]


def _digest(answered: LoggedAnswer) -> str:
    """Of all that the model sees."""
    return digest(answered.model_dump(mode="json"))

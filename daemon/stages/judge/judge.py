"""The judge stage: claims open judgements, asks, and stores each verdict with its judgement's end.

Nothing in memory matters: a killed stage's claims expire, its stored answers are used again, and its verdicts
are either wholly there or not at all.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from connectors.base import Judge
from connectors.errors import FatalError, PoisonError, RateLimitedError, TransientError, UnreadableError
from connectors.judges.pacing import Pacing
from daemon.budget import Budget, BudgetExhaustedError
from daemon.clock import Clock
from daemon.config.settings import JudgeConfig
from daemon.errors import HaltedError
from daemon.latch import Latch
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.service.loops import line_of
from daemon.stages.judge.allowance import Allowance
from daemon.stages.judge.asker import Asker
from daemon.stages.judge.call_rows import Answer
from daemon.stages.judge.conclude import compared, counted, mean_score, verdict_row
from daemon.stages.judge.group_commit import GroupCommit
from daemon.stages.judge.questions import Posing
from daemon.stages.judge.reservations import Purse
from daemon.stages.judge.round import Question, Sitting
from daemon.store import calls, claims, judgements, verdicts
from daemon.store.candidates import storable
from daemon.store.claims import Claim
from daemon.store.judgements import Material
from daemon.store.store import Store, StoreError
from daemon.wiring.pricing import Tariffs
from policies.judging.constitution import Constitution
from policies.judging.grammar import Invalid, ScoreReply
from policies.judging.prompts import system_text
from policies.judging.rubric import Rubric
from policies.judging.verdicts import Abstained, Verdict, scored
from policies.policy import PolicySpec
from policies.records import Role, Scope

MIN_DELAY_S = 2.0
MAX_DELAY_S = 60.0
"""How long a judgement that could not be made waits; it doubles with each claim."""
MOST_CLAIMS = 5
"""Claims after which a judgement that makes this code fail is given up: it would stop all others."""
MOST_UNFIT = 2
"""Claims, and answers that were served and held no judgement, after which there is none: an abstention."""
CHECK_S = 1.0
"""How old a look at the halts may be when a call starts."""

log = get("judge")


@dataclass(frozen=True, slots=True)
class _Case:
    """A claimed judgement with what is shown of it, in one order or both."""

    claim: Claim
    material: Material
    questions: tuple[Question, ...] = ()
    broken: Exception | None = None
    """What kept the questions from being put."""


@dataclass(frozen=True, slots=True)
class _Later:
    """Why a judgement is put back, and until when; None: it is due as it was. `tried`: the claim counts."""

    not_before: float | None
    error: str
    tried: bool = False


class JudgeStage:
    """Judges what is open, for the roles it has judges for.

    `step(role)` claims at most `claim_batch` judgements, makes them at once, and answers how many it
    finished. 0: nothing was due, judging is halted, the day's money is spent, or nothing could be finished
    now. It raises FatalError after putting its claims back. A judge that has not answered yet is given one
    judgement first: what every call gets costs no more than that one. What a judge without a price costs is
    counted as nothing.
    """

    def __init__(
        self,
        *,
        store: Store,
        judges: Mapping[Role, Judge],
        configs: Mapping[Role, JudgeConfig],
        versions: Mapping[Role, str],
        prices: Tariffs,
        policy: PolicySpec,
        constitution: Constitution,
        rubric: Rubric,
        budget: Budget,
        latch: Latch,
        metrics: Metrics,
        clock: Clock,
        owner: str,
        claim_s: float = 300.0,
        claim_batch: int = 64,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        nonce: Callable[[], str] = lambda: secrets.token_hex(8),
        seed: int | None = None,
    ) -> None:
        self._store = store
        self._budget = budget
        self._latch = latch
        self._metrics = metrics
        self._clock = clock
        self._rule = policy.judging
        self._system = system_text(constitution, rubric, reasoning=policy.judging.show_reasoning)
        self._owner = owner
        self._claim_s = claim_s
        self._claim_batch = claim_batch
        self._sleep = sleep
        self._dimensions = rubric.names
        self._posing = Posing(policy.judging, rubric.names, nonce)
        self._random = random.Random(seed)
        self._said: set[tuple[str, str]] = set()
        self._versions = versions
        self._prices = prices
        self._askers = {role: self._asker(role, judge, configs[role]) for role, judge in judges.items()}
        self._allowances = {role: self._allowance(asker) for role, asker in self._askers.items()}

    def _asker(self, role: Role, judge: Judge, config: JudgeConfig) -> Asker:
        return Asker(
            role=role,
            judge=judge,
            config=config,
            system=self._system,
            dimensions=self._dimensions,
            version=self._versions[role],
            tariff=self._prices[role],
            pacing=Pacing(
                concurrency=config.concurrency,
                requests_per_minute=config.requests_per_minute,
                monotonic=self._clock.monotonic,
                sleep=self._sleep,
                random=self._random,
            ),
            metrics=self._metrics,
            clock=self._clock,
            sleep=self._sleep,
            random=self._random,
        )

    def _allowance(self, asker: Asker) -> Allowance:
        return Allowance(
            budget=self._budget,
            role=asker.role,
            limit_usd=asker.config.daily_budget_usd,
            least_usd=asker.least_usd(),
            clock=self._clock,
        )

    async def step(self, role: Role) -> int:
        """One batch of the role's judgements."""
        asker = self._askers[role]
        try:
            await asyncio.to_thread(self._latch.check, Scope.JUDGING)
        except HaltedError as error:
            self._say_once("judging_halted", role, reason=str(error))
            return 0
        self._said.discard(("judging_halted", role))
        asker.standing.check(self._clock.monotonic())
        shortage = await asyncio.to_thread(self.shortage, role)
        self._metrics.budget_short.labels(role).set(bool(shortage))
        if shortage:
            self._say_once("judge_budget_exhausted", role, reason=shortage, day=self._budget.today())
            return 0
        most = self._claimable(asker.config)
        if asker.standing.trusted:
            done, _ = await self._round(asker, most)
            return done
        done, claimed = await self._round(asker, 1)
        if not claimed or most == 1 or asker.standing.doubted:
            return done
        others, _ = await self._round(asker, most - 1)
        return done + others

    def shortage(self, role: Role) -> str:
        """Why nothing is claimed for the role though it may be due: today's money; "" where some is left."""
        return self._allowances[role].shortage()

    async def _round(self, asker: Asker, most: int) -> tuple[int, int]:
        """How many of so many judgements were finished, and how many were claimed."""
        expires_at = self._clock.now() + self._claim_s
        role = asker.role
        mine = await asyncio.to_thread(self._store.write, lambda c: self._claim(c, role, expires_at, most))
        if not mine:
            return 0, 0
        sitting = self._sitting(asker, expires_at)
        thoughts = self._rule.show_reasoning
        found = await asyncio.to_thread(
            self._store.read, lambda c: judgements.material(c, mine, reasoning=thoughts)
        )
        cases = [self._prepared(asker, claim, found[claim.id]) for claim in mine if claim.id in found]
        keys = [asker.reuse_key(each) for case in cases for each in case.questions]
        sitting.stored = await asyncio.to_thread(self._store.read, lambda c: calls.reusable(c, keys))
        finished = await asyncio.gather(
            *(self._case(asker, sitting, case) for case in cases),
            return_exceptions=True,
        )
        _raise_worst([each for each in finished if isinstance(each, BaseException)])
        done = sum(1 for each in finished if each is True)
        if done:
            self._said.discard(("judge_unanswered", role))
        elif sitting.failure:
            self._say_once("judge_unanswered", role, waiting=len(cases), error=sitting.failure)
        return done, len(mine)

    def _claim(self, connection: Connection, role: Role, expires_at: float, most: int) -> list[Claim]:
        return claims.claim(
            connection,
            role=role,
            owner=self._owner,
            now=self._clock.now(),
            expires_at=expires_at,
            limit=most,
        )

    def _claimable(self, config: JudgeConfig) -> int:
        """No more than the configured rate lets through while the claims last."""
        if config.requests_per_minute is None:
            return self._claim_batch
        calls_possible = config.requests_per_minute * (self._claim_s - config.deadline_s) / 60
        return max(1, min(self._claim_batch, int(calls_possible / max(2, self._rule.samples))))

    def _sitting(self, asker: Asker, expires_at: float) -> Sitting:
        checked_at = self._clock.monotonic()

        async def check() -> None:
            nonlocal checked_at
            if self._clock.monotonic() - checked_at > CHECK_S:
                checked_at = self._clock.monotonic()
                await asyncio.to_thread(self._latch.check, Scope.JUDGING)
            if sitting.stopped is not None:
                raise sitting.stopped

        limit = asker.config.daily_budget_usd
        lasts_s = self._claim_s + asker.config.deadline_s
        purse = Purse(self._budget, asker.role.value, limit, lasts_s=lasts_s)
        sitting = Sitting(GroupCommit(self._store), purse, expires_at, check)
        return sitting

    def _prepared(self, asker: Asker, claim: Claim, material: Material) -> _Case:
        """What this code cannot show is the fault of one case: the others are judged."""
        try:
            return _Case(claim, material, self._posing.questions(asker, claim, material))
        except Exception as error:  # noqa: BLE001 - raised where the case is judged
            return _Case(claim, material, broken=error)

    async def _case(self, asker: Asker, sitting: Sitting, case: _Case) -> bool:
        """One judgement from asking to commit. True: its verdict is stored."""
        try:
            verdict, cost = await self._judge(asker, sitting, case)
        except PoisonError as error:
            verdict, cost = Abstained(str(error)), 0.0
        except (TransientError, BudgetExhaustedError, HaltedError) as error:
            if isinstance(error, TransientError):
                sitting.failure = str(error)
            if not (isinstance(error, UnreadableError) and await self._is_enough(case)):
                await self._put_back(sitting, case.claim, self._later(asker.role, case.claim, error))
                return False
            verdict, cost = Abstained(str(error)), 0.0
        except (FatalError, StoreError, asyncio.CancelledError) as error:
            # At the end of what is due: if it is this one after all, another has its turn.
            await self._put_back(sitting, case.claim, _Later(self._clock.now(), str(error)))
            raise
        except Exception as error:
            ours = await self._broke(sitting, asker.role, case.claim, error)
            if ours and error is not case.broken:
                raise
            return False
        row = verdict_row(
            verdict,
            claim=case.claim,
            family=asker.judge.family,
            version=asker.version,
            adapter=case.material.adapter,
            ceiling=self._rule.ceiling,
            cost_usd=cost,
            now=self._clock.now(),
        )

        def commit(connection: Connection) -> bool:
            ours = claims.finish(connection, case.claim, state="done", now=self._clock.now())
            return ours and verdicts.insert(connection, [row]) == 1

        stored = await sitting.commits.write(commit)
        if stored:
            counted(self._metrics, verdict, row, contender=case.material.contender)
        return stored

    async def _is_enough(self, case: _Case) -> bool:
        """Whether enough was paid for this judgement without getting one."""
        if case.claim.attempts < MOST_UNFIT:
            return False
        return (
            await asyncio.to_thread(self._store.read, lambda c: calls.unfit(c, case.claim.id)) >= MOST_UNFIT
        )

    async def _judge(self, asker: Asker, sitting: Sitting, case: _Case) -> tuple[Verdict, float]:
        """The verdict and what it cost."""
        if case.broken is not None:
            raise case.broken
        questions = case.questions
        first: list[Answer] = []
        if case.claim.kind == "score" and asker.config.logprobs:
            first = [await asker.ask(questions[0], sitting)]
            known = first[0]
            if isinstance(known.reply, ScoreReply) and known.spread is not None:
                return scored([known.reply], known.spread), known.cost_usd
            if isinstance(known.reply, Invalid) and (known.cut_off or len(questions) == 1):
                return Abstained(known.reply.reason), known.cost_usd
            questions = questions[1:]
        asked = await asyncio.gather(
            *(asker.ask(each, sitting) for each in questions), return_exceptions=True
        )
        _raise_worst([each for each in asked if isinstance(each, BaseException)])
        answers = [*first, *(each for each in asked if isinstance(each, Answer))]
        cost = sum(answer.cost_usd for answer in answers)
        conclude = mean_score if case.claim.kind == "score" else compared
        return conclude([answer.reply for answer in answers]), cost

    async def _put_back(self, sitting: Sitting, claim: Claim, later: _Later) -> bool:
        """False: the judgement is not ours any more."""
        error = storable(later.error)

        def commit(connection: Connection) -> bool:
            return claims.release(
                connection, claim, not_before=later.not_before, error=error, counts=later.tried
            )

        return await sitting.commits.write(commit)

    async def _give_up(self, sitting: Sitting, claim: Claim, error: str) -> bool:
        """Closes the judgement without a verdict. False: it is not ours any more."""
        why, now = storable(error), self._clock.now()
        return await sitting.commits.write(
            lambda c: claims.finish(c, claim, state="failed", now=now, error=why)
        )

    async def _broke(self, sitting: Sitting, role: Role, claim: Claim, error: Exception) -> bool:
        """Puts a judgement back on which this code failed; gives it up after `MOST_CLAIMS`.

        False: it is not ours any more. Another took it over, or it was erased with its trace.
        """
        later, give_up = self._later(role, claim, error), claim.attempts >= MOST_CLAIMS
        ending = (
            self._give_up(sitting, claim, later.error) if give_up else self._put_back(sitting, claim, later)
        )
        ours = await ending
        fields = {"judgement": claim.id, "ours": ours, "given_up": give_up and ours}
        log.warning("judgement_broke", role=role.value, error=line_of(error), **fields)
        return ours

    def _later(self, role: Role, claim: Claim, error: Exception) -> _Later:
        now = self._clock.now()
        if isinstance(error, BudgetExhaustedError):
            self._allowances[role].refused(error)
        if isinstance(error, BudgetExhaustedError | HaltedError):
            return _Later(None, str(error))
        delay = min(MAX_DELAY_S, MIN_DELAY_S * 2.0 ** min(claim.attempts - 1, 10))
        delay *= 0.5 + self._random.random() / 2
        if isinstance(error, RateLimitedError) and error.retry_after_s is not None:
            delay = max(delay, error.retry_after_s)
        return _Later(now + delay, str(error), tried=True)

    def _say_once(self, event: str, role: Role, **fields: object) -> None:
        """Logs a condition when it begins, not at each step of it."""
        key = (event, str(fields.get("day", "")) + role)
        if key not in self._said:
            self._said.add(key)
            log.warning(event, role=role.value, **fields)


def _raise_worst(errors: Sequence[BaseException]) -> None:
    """Raises the error that says most: what stops everything before what passes."""

    def weight(error: BaseException) -> int:
        order = (TransientError, BudgetExhaustedError, HaltedError, PoisonError, FatalError)
        return next((at for at, kind in enumerate(order) if isinstance(error, kind)), len(order))

    if errors:
        raise max(errors, key=weight)

"""The judge stage: claims open judgements, asks, and stores each verdict with its judgement's end.

Nothing in memory matters: a killed stage's claims expire, its stored answers are used again, and its verdicts
are either wholly there or not at all.
"""

import asyncio
import math
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

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
from daemon.stages.judge.claiming import Case, Claiming
from daemon.stages.judge.conclude import compared, counted, mean_score, verdict_row
from daemon.stages.judge.flow import End, Flow, Turn
from daemon.stages.judge.group_commit import GroupCommit
from daemon.stages.judge.questions import Posing
from daemon.stages.judge.reservations import Purse
from daemon.stages.judge.round import Docket, Sitting
from daemon.store import calls, claims, verdicts
from daemon.store.candidates import storable
from daemon.store.claims import Claim
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
class _Later:
    """Why a judgement is put back, and until when; None: it is due as it was. `tried`: the claim counts."""

    not_before: float | None
    error: str
    tried: bool = False


class JudgeStage:
    """Judges what is open, for the roles it has judges for.

    Claims flow: a place that falls free takes the next judgement while slow calls are still out. `step(role)`
    is a turn of a second or so, and answers how many judgements it finished; what is out stays out until the
    next one, or until `finish(role)`, which takes nothing more. 0: nothing was due, judging is halted, the
    day's money is spent, or nothing could be finished now; nothing is in hand then. It raises FatalError
    after putting back all that is in hand. A judge that has not answered yet is given one judgement first:
    what every call gets costs no more than that one. What a judge without a price costs is counted as
    nothing.
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
        self._sleep = sleep
        self._dimensions = rubric.names
        posing = Posing(policy.judging, rubric.names, nonce)
        self._claiming = Claiming(store, clock, posing, owner, claim_s, claim_batch)
        self._random = random.Random(seed)
        self._said: set[tuple[str, str]] = set()
        self._failures: dict[Role, str] = {}
        """The last passing error that put a judgement back."""
        self._versions = versions
        self._prices = prices
        self._askers = {role: self._asker(role, judge, configs[role]) for role, judge in judges.items()}
        self._allowances = {role: self._allowance(asker) for role, asker in self._askers.items()}
        self._sittings = {role: self._sitting(asker) for role, asker in self._askers.items()}
        self._flows = {
            role: Flow(partial(self._taken, asker), at_once=claim_batch)
            for role, asker in self._askers.items()
        }

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
        """One turn of the role's judgements."""
        asker, flow = self._askers[role], self._flows[role]
        most = self._claiming.most(asker.config) if await self._may_claim(asker) else 0
        if not most or flow.in_hand or asker.standing.trusted:
            return self._told(asker, await flow.turn(most))
        probe = await flow.turn(1, once=True)
        done = self._told(asker, probe)
        if not probe.claimed or most == 1 or asker.standing.doubted:
            return done
        return done + self._told(asker, await flow.turn(most))

    async def finish(self, role: Role) -> int:
        """Waits for all that is in hand, takes nothing more, and answers how many were finished. Cancelled,
        it puts back what is still out.
        """
        return self._told(self._askers[role], await self._flows[role].turn(0, lasts_s=math.inf))

    async def _may_claim(self, asker: Asker) -> bool:
        """Whether anything is claimed for the judge now. Raises what stopped it while it rests."""
        role = asker.role
        try:
            await asyncio.to_thread(self._latch.check, Scope.JUDGING)
        except HaltedError as error:
            self._say_once("judging_halted", role, reason=str(error))
            return False
        self._said.discard(("judging_halted", role))
        if not self._flows[role].in_hand:
            asker.standing.check(self._clock.monotonic())
        shortage = await asyncio.to_thread(self.shortage, role)
        self._metrics.budget_short.labels(role).set(bool(shortage))
        if shortage:
            self._say_once("judge_budget_exhausted", role, reason=shortage, day=self._budget.today())
        return not shortage

    def _told(self, asker: Asker, turn: Turn) -> int:
        """How many were finished. Raises the worst error of the turn; says once that nothing gets through."""
        _raise_worst(turn.errors)
        if turn.done:
            self._said.discard(("judge_unanswered", asker.role))
        elif failure := self._failures.pop(asker.role, ""):
            self._say_once("judge_unanswered", asker.role, waiting=turn.put_back, error=failure)
        return turn.done

    def shortage(self, role: Role) -> str:
        """Why nothing is claimed for the role though it may be due: today's money; "" where some is left."""
        return self._allowances[role].shortage()

    async def _taken(self, asker: Asker, most: int) -> list[Coroutine[Any, Any, End]]:
        """Claims up to so many judgements, to be made."""
        if not self._flows[asker.role].in_hand:
            self._sittings[asker.role] = self._sitting(asker)
        docket, cases = await self._claiming.claim(asker, self._sittings[asker.role], most)
        return [self._case(asker, docket, case) for case in cases]

    def _sitting(self, asker: Asker) -> Sitting:
        checked_at = self._clock.monotonic()

        async def check() -> None:
            nonlocal checked_at
            now = self._clock.monotonic()
            if now - checked_at > CHECK_S:
                await asyncio.to_thread(self._latch.check, Scope.JUDGING)
                checked_at = now
            if sitting.stopped is not None:
                raise sitting.stopped

        limit = asker.config.daily_budget_usd
        lasts_s = self._claiming.claim_s + asker.config.deadline_s
        commits = GroupCommit(self._store)
        purse = Purse(self._budget, commits, asker.role.value, limit, lasts_s=lasts_s)
        sitting = Sitting(commits, purse, check)
        return sitting

    async def _case(self, asker: Asker, docket: Docket, case: Case) -> End:
        """One judgement from asking to commit."""
        sitting = docket.sitting
        try:
            verdict, cost = await self._judge(asker, docket, case)
        except PoisonError as error:
            verdict, cost = Abstained(str(error)), 0.0
        except (TransientError, BudgetExhaustedError, HaltedError) as error:
            if isinstance(error, TransientError):
                self._failures[asker.role] = str(error)
            if not (isinstance(error, UnreadableError) and await self._is_enough(case)):
                await self._put_back(sitting, case.claim, self._later(asker.role, case.claim, error))
                return End.PUT_BACK if isinstance(error, TransientError) else End.REFUSED
            verdict, cost = Abstained(str(error)), 0.0
        except (FatalError, StoreError, asyncio.CancelledError) as error:
            # At the end of what is due: if it is this one after all, another has its turn.
            await self._put_back(sitting, case.claim, _Later(self._clock.now(), str(error)))
            raise
        except Exception as error:
            ours = await self._broke(sitting, asker.role, case.claim, error)
            if ours and error is not case.broken:
                raise
            return End.PUT_BACK if ours else End.LOST
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
        return End.STORED if stored else End.LOST

    async def _is_enough(self, case: Case) -> bool:
        """Whether enough was paid for this judgement without getting one."""
        if case.claim.attempts < MOST_UNFIT:
            return False
        return (
            await asyncio.to_thread(self._store.read, lambda c: calls.unfit(c, case.claim.id)) >= MOST_UNFIT
        )

    async def _judge(self, asker: Asker, docket: Docket, case: Case) -> tuple[Verdict, float]:
        """The verdict and what it cost."""
        if case.broken is not None:
            raise case.broken
        questions = case.questions
        first: list[Answer] = []
        if case.claim.kind == "score" and asker.config.logprobs:
            first = [await asker.ask(questions[0], docket)]
            known = first[0]
            if isinstance(known.reply, ScoreReply) and known.spread is not None:
                return scored([known.reply], known.spread), known.cost_usd
            if isinstance(known.reply, Invalid) and (known.cut_off or len(questions) == 1):
                return Abstained(known.reply.reason), known.cost_usd
            questions = questions[1:]
        asked = await asyncio.gather(*(asker.ask(each, docket) for each in questions), return_exceptions=True)
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

"""The judge stage: claims open judgements, asks, and stores each verdict with its judgement's end.

Nothing in memory matters: a killed stage's claims expire, its stored answers are used again, and its verdicts
are either wholly there or not at all.
"""

import asyncio
import math
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from connectors.errors import FatalError, PoisonError, RateLimitedError, TransientError, UnreadableError
from daemon.budget import Budget, BudgetExhaustedError
from daemon.clock import Clock
from daemon.errors import HaltedError, line_of
from daemon.latch import Latch
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.stages.judge.allowance import Allowance
from daemon.stages.judge.assessor import Assessor, ClaimedCase
from daemon.stages.judge.claiming import Claiming
from daemon.stages.judge.conclude import counted, raise_worst, verdict_row
from daemon.stages.judge.flow import End, Flow, FlowTurn
from daemon.stages.judge.group_commit import GroupCommit
from daemon.stages.judge.reservations import Purse
from daemon.stages.judge.round import Docket, Sitting
from daemon.store import calls, claims, verdicts
from daemon.store.candidates import storable
from daemon.store.claims import Claim
from daemon.store.store import Store, StoreError
from policies.judging.verdicts import Abstained, Verdict
from policies.policy import JudgingRule
from policies.records import Scope

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
class Claims:
    """How judgements are claimed: by whom, for so many seconds, and at most so many in one transaction."""

    owner: str
    last_s: float = 300.0
    at_once: int = 64


@dataclass(frozen=True, slots=True)
class _Later:
    """Why a judgement is put back, and until when; None: it is due as it was. `tried`: the claim counts."""

    not_before: float | None
    error: str
    tried: bool = False


class JudgeStage:
    """Judges what is open, for the judges it has, each through its assessor.

    Claims flow: a place that falls free takes the next judgement while slow calls are still out. `step(name)`
    is a turn of a second or so, and returns how many judgements it finished; what is out stays out until the
    next one, or until `finish(name)`, which takes nothing more. 0: nothing was due, judging is halted, the
    day's money is spent, or nothing could be finished now; nothing is in hand then. It raises FatalError
    after putting back all that is in hand. A judge that has not answered yet is given one judgement first:
    what every call gets costs no more than that one. What a judge without a price costs is counted as
    nothing.
    """

    def __init__(
        self,
        *,
        store: Store,
        assessors: Sequence[Assessor],
        rule: JudgingRule,
        budget: Budget,
        latch: Latch,
        metrics: Metrics,
        clock: Clock,
        claims: Claims,
        seed: int | None = None,
    ) -> None:
        self._store = store
        self._budget = budget
        self._latch = latch
        self._metrics = metrics
        self._clock = clock
        self._ceiling = rule.ceiling
        self._claiming = Claiming(store, clock, claims.owner, claims.last_s, rule.show_reasoning)
        self._random = random.Random(seed)
        self._said: set[tuple[str, str]] = set()
        self._failures: dict[str, str] = {}
        """The last passing error that put a judgement back."""
        self._assessors = {each.named.name: each for each in assessors}
        self._allowances = {name: self._allowance(each) for name, each in self._assessors.items()}
        self._sittings = {name: self._sitting(each) for name, each in self._assessors.items()}
        self._flows = {
            name: Flow(partial(self._taken, each), at_once=claims.at_once)
            for name, each in self._assessors.items()
        }

    def _allowance(self, assessor: Assessor) -> Allowance:
        terms = assessor.terms
        return Allowance(
            budget=self._budget,
            judge=assessor.named,
            limit_usd=terms.limit_usd,
            least_usd=terms.least_usd,
            clock=self._clock,
        )

    async def step(self, name: str) -> int:
        """One turn of the judge's judgements."""
        assessor, flow = self._assessors[name], self._flows[name]
        most = assessor.terms.most if await self._may_claim(assessor) else 0
        if not most or flow.in_hand or assessor.standing.trusted:
            return self._told(name, await flow.turn(most))
        probe = await flow.turn(1, once=True)
        done = self._told(name, probe)
        if not probe.claimed or most == 1 or assessor.standing.doubted:
            return done
        return done + self._told(name, await flow.turn(most))

    async def finish(self, name: str) -> int:
        """Waits for all that is in hand, takes nothing more, and returns how many were finished. Cancelled,
        it puts back what is still out.
        """
        return self._told(name, await self._flows[name].turn(0, lasts_s=math.inf))

    async def _may_claim(self, assessor: Assessor) -> bool:
        """Whether anything is claimed for the judge now. Raises what stopped it while it rests."""
        name = assessor.named.name
        try:
            await asyncio.to_thread(self._latch.check, Scope.JUDGING)
        except HaltedError as error:
            self._say_once("judging_halted", name, reason=str(error))
            return False
        self._said.discard(("judging_halted", name))
        if not self._flows[name].in_hand:
            assessor.standing.check(self._clock.monotonic())
        shortage = await asyncio.to_thread(self.shortage, name)
        self._metrics.budget_short.labels(*assessor.named.labels).set(bool(shortage))
        if shortage:
            self._say_once("judge_budget_exhausted", name, reason=shortage, day=self._budget.today())
        return not shortage

    def _told(self, name: str, turn: FlowTurn) -> int:
        """How many were finished. Raises the worst error of the turn; says once that nothing gets through."""
        raise_worst(turn.errors)
        if turn.done:
            self._said.discard(("judge_unanswered", name))
        elif failure := self._failures.pop(name, ""):
            self._say_once("judge_unanswered", name, waiting=turn.put_back, error=failure)
        return turn.done

    def shortage(self, name: str) -> str:
        """Why nothing is claimed for the judge though it may be due: today's money; "" where some is left."""
        return self._allowances[name].shortage()

    async def _taken(self, assessor: Assessor, most: int) -> list[Coroutine[Any, Any, End]]:
        """Claims up to so many judgements, to be made."""
        name = assessor.named.name
        if not self._flows[name].in_hand:
            self._sittings[name] = self._sitting(assessor)
        docket, cases = await self._claiming.claim(assessor, self._sittings[name], most)
        return [self._case(assessor, docket, case) for case in cases]

    def _sitting(self, assessor: Assessor) -> Sitting:
        checked_at = self._clock.monotonic()

        async def check() -> None:
            nonlocal checked_at
            now = self._clock.monotonic()
            if now - checked_at > CHECK_S:
                await asyncio.to_thread(self._latch.check, Scope.JUDGING)
                checked_at = now
            if sitting.stopped is not None:
                raise sitting.stopped

        terms = assessor.terms
        lasts_s = self._claiming.claim_s + terms.deadline_s
        commits = GroupCommit(self._store)
        purse = Purse(self._budget, commits, assessor.named, terms.limit_usd, lasts_s=lasts_s)
        sitting = Sitting(commits, purse, check)
        return sitting

    async def _case(self, assessor: Assessor, docket: Docket, case: ClaimedCase) -> End:
        """One judgement from asking to commit."""
        sitting, name = docket.sitting, assessor.named.name
        try:
            verdict, cost = await _assessed(assessor, case, docket)
        except PoisonError as error:
            verdict, cost = Abstained(str(error)), 0.0
        except (TransientError, BudgetExhaustedError, HaltedError) as error:
            if isinstance(error, TransientError):
                self._failures[name] = str(error)
            if not (isinstance(error, UnreadableError) and await self._is_enough(case)):
                await self._put_back(sitting, case.claim, self._later(name, case.claim, error))
                return End.PUT_BACK if isinstance(error, TransientError) else End.REFUSED
            verdict, cost = Abstained(str(error)), 0.0
        except (FatalError, StoreError, asyncio.CancelledError) as error:
            # At the end of what is due: if it is this one after all, another has its turn.
            await self._put_back(sitting, case.claim, _Later(self._clock.now(), str(error)))
            raise
        except Exception as error:
            ours = await self._broke(sitting, name, case.claim, error)
            if ours and error is not case.broken:
                raise
            return End.PUT_BACK if ours else End.LOST
        row = verdict_row(
            verdict,
            claim=case.claim,
            family=assessor.family,
            version=assessor.named.version,
            adapter=case.material.adapter,
            ceiling=self._ceiling,
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

    async def _is_enough(self, case: ClaimedCase) -> bool:
        """Whether enough was paid for this judgement without getting one."""
        if case.claim.attempts < MOST_UNFIT:
            return False
        return (
            await asyncio.to_thread(self._store.read, lambda c: calls.unfit(c, case.claim.id)) >= MOST_UNFIT
        )

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

    async def _broke(self, sitting: Sitting, name: str, claim: Claim, error: Exception) -> bool:
        """Puts a judgement back on which this code failed; gives it up after `MOST_CLAIMS`.

        False: it is not ours any more. Another took it over, or it was erased with its trace.
        """
        later, give_up = self._later(name, claim, error), claim.attempts >= MOST_CLAIMS
        ending = (
            self._give_up(sitting, claim, later.error) if give_up else self._put_back(sitting, claim, later)
        )
        ours = await ending
        fields = {"judgement": claim.id, "ours": ours, "given_up": give_up and ours}
        log.warning("judgement_broke", judge=name, error=line_of(error), **fields)
        return ours

    def _later(self, name: str, claim: Claim, error: Exception) -> _Later:
        now = self._clock.now()
        if isinstance(error, BudgetExhaustedError):
            self._allowances[name].refused(error)
        if isinstance(error, BudgetExhaustedError | HaltedError):
            return _Later(None, str(error))
        delay = min(MAX_DELAY_S, MIN_DELAY_S * 2.0 ** min(claim.attempts - 1, 10))
        delay *= 0.5 + self._random.random() / 2
        if isinstance(error, RateLimitedError) and error.retry_after_s is not None:
            delay = max(delay, error.retry_after_s)
        return _Later(now + delay, str(error), tried=True)

    def _say_once(self, event: str, name: str, **fields: object) -> None:
        """Logs a condition when it begins, not at each step of it."""
        key = (event, str(fields.get("day", "")) + name)
        if key not in self._said:
            self._said.add(key)
            log.warning(event, judge=name, **fields)


async def _assessed(assessor: Assessor, case: ClaimedCase, docket: Docket) -> tuple[Verdict, float]:
    """The verdict and what it cost. Raises what kept the case from being prepared."""
    if case.broken is not None:
        raise case.broken
    return await assessor.assess(case, docket)

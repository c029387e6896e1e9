"""What the judge stage asks of a judge, whatever it is: a verdict on some material, and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from daemon.stages.judge.round import Docket, JudgeQuestion
from daemon.stages.judge.standing import Standing
from daemon.store.claims import Claim
from daemon.store.judgements import Material
from policies.judging.judges import NamedJudge
from policies.judging.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class ClaimedCase:
    """A claimed judgement with what it is about. A chat model's has its questions, in one order or both."""

    claim: Claim
    material: Material
    questions: tuple[JudgeQuestion, ...] = ()
    broken: Exception | None = None
    """What kept the questions from being put."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a judge is asked. `least_usd` is what no call is reserved less than.

    `most` judgements are held at a time. A call ends within `deadline_s`.
    """

    most: int
    deadline_s: float
    limit_usd: float | None = None
    least_usd: float = 0.0


class Assessor(Protocol):
    """One judge. Long-lived: its `standing` says whether its calls get through.

    `prepared(claim, material)` answers the case; what it raises is the fault of that one judgement.
    `keys(case)` are those under which its calls' answers would be stored: the docket has the stored ones.
    `assess(case, docket)` answers the verdict, which may be an abstention, and its price in US dollars. It
    raises TransientError, BudgetExhaustedError and HaltedError (later), PoisonError (never: an abstention),
    and FatalError (no judgement can be made as things are). It stores each call. `whole`: it reads answers as
    messages, not as text alone. `close()` releases what it holds.
    """

    whole: bool

    @property
    def named(self) -> NamedJudge: ...

    @property
    def family(self) -> str: ...

    @property
    def standing(self) -> Standing: ...

    @property
    def terms(self) -> Terms: ...

    def prepared(self, claim: Claim, material: Material) -> ClaimedCase: ...

    def keys(self, case: ClaimedCase) -> Sequence[str]: ...

    async def assess(self, case: ClaimedCase, docket: Docket) -> tuple[Verdict, float]: ...

    async def close(self) -> None: ...

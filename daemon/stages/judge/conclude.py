"""From a judge's answers to the verdict, its row and its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.errors import FatalError, PoisonError, TransientError
from daemon.budget import BudgetExhaustedError
from daemon.errors import HaltedError
from daemon.metrics.registry import Metrics
from daemon.store.candidates import storable
from daemon.store.claims import Claim
from policies.judging.grammar import Invalid, PairReply, ScoreReply
from policies.judging.verdicts import Abstained, Preferred, Scored, Verdict, preferred, scored
from policies.states import Purpose

Reply = ScoreReply | PairReply | Invalid


def mean_score(replies: Sequence[Reply]) -> Verdict:
    """The mean of the readable samples when they are more than half; else an abstention."""
    readable = [reply for reply in replies if isinstance(reply, ScoreReply)]
    if 2 * len(readable) > len(replies):
        return scored(readable)
    return Abstained(_reason(replies))


def compared(replies: Sequence[Reply]) -> Verdict:
    """Both orders together; an abstention when one of them could not be read."""
    shown, swapped = replies
    if isinstance(shown, PairReply) and isinstance(swapped, PairReply):
        return preferred(shown, swapped)
    return Abstained(_reason(replies))


def _reason(replies: Sequence[Reply]) -> str:
    return next(reply.reason for reply in replies if isinstance(reply, Invalid))


def verdict_row(
    verdict: Verdict,
    *,
    claim: Claim,
    family: str,
    version: str,
    adapter: str,
    ceiling: float,
    cost_usd: float,
    now: float,
) -> dict[str, Any]:
    """The columns of VerdictRow."""
    decided = verdict if isinstance(verdict, Scored | Preferred) else None
    return {
        "judgement_id": claim.id,
        "judge": claim.judge,
        "role": claim.role.value,
        "family": family,
        "version": version,
        "kind": claim.kind,
        "purpose": claim.purpose,
        "trace_id": claim.trace_id,
        "candidate_id": claim.candidate_id,
        "other_id": claim.other_id,
        "evaluation_id": claim.evaluation_id,
        "adapter": adapter,
        "value": verdict.value if isinstance(verdict, Scored) else None,
        "reward": verdict.reward(ceiling) if isinstance(verdict, Scored) else None,
        "choice": verdict.choice if isinstance(verdict, Preferred) else None,
        "flipped": isinstance(verdict, Preferred) and verdict.flipped,
        "confidence": decided.confidence if decided else None,
        "scores": dict(decided.scores) if decided else {},
        "critique": storable(decided.critique) if decided else "",
        "abstention": storable(verdict.reason) if isinstance(verdict, Abstained) else None,
        "probability": claim.probability,
        "cost_usd": cost_usd,
        "created_at": now,
    }


def result_of(verdict: Verdict) -> str:
    """scored, decided, tie, flipped, split (one order says tie) or abstained: the metric's label."""
    match verdict:
        case Scored():
            return "scored"
        case Abstained():
            return "abstained"
        case Preferred(choice="tie"):
            return "tie"
        case Preferred(choice=None):
            return "flipped" if verdict.flipped else "split"
    return "decided"


def counted(metrics: Metrics, verdict: Verdict, row: Mapping[str, Any], *, contender: str | None) -> None:
    """Counts a stored verdict. Only the adapter under evaluation is the challenger; all else is stable, but
    for a policy under training, whose rewards are not shown here.
    """
    metrics.verdicts.labels(row["judge"], row["role"], row["kind"], result_of(verdict)).inc()
    if row["reward"] is not None and row["purpose"] != Purpose.SOUNDING:
        tested = row["purpose"] == Purpose.GATE and contender is not None and row["adapter"] == contender
        slot = "challenger" if tested else "stable"
        metrics.reward.labels(row["judge"], row["role"], slot).observe(row["reward"])


def raise_worst(errors: Sequence[BaseException]) -> None:
    """Raises the error that says most: what stops everything before what passes."""

    def weight(error: BaseException) -> int:
        order = (TransientError, BudgetExhaustedError, HaltedError, PoisonError, FatalError)
        return next((at for at, kind in enumerate(order) if isinstance(error, kind)), len(order))

    if errors:
        raise max(errors, key=weight)

"""The gate's evidence on one attempt, put together from the store in the caller's transaction."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from sqlalchemy import Connection

from daemon.metrics.figures import figure_of
from daemon.store import evaluations, halts, rollouts
from daemon.store.agentevidence import agent_of
from daemon.store.alignment import at_gate
from daemon.store.evaluations import Arms, CutAnswers, Evaluation
from daemon.store.judgements import Wanted
from policies.alignment import Alignment
from policies.gate.decision import Comparison, Decision, GateEvidence, Result
from policies.judging.judges import NamedJudge, of_roles
from policies.policy import PolicySpec
from policies.records import Role, Scope
from policies.states import Purpose
from policies.training.jobs import CompareResult


def gather(
    connection: Connection,
    evaluation: Evaluation,
    spec: PolicySpec,
    judges: Sequence[NamedJudge],
    *,
    refused: str | None,
) -> GateEvidence:
    """All that is known now. `judges` are the configured ones; `refused` says what does not verify."""
    known = rollouts.known(connection, evaluation.adapter)
    cut = evaluations.cut_off(evaluation.evidence) or CutAnswers(0, 0, 0)
    return GateEvidence(
        comparisons=_comparisons(connection, evaluation.id),
        gate_judge=bool(of_roles(judges, Role.GATE)),
        answered=cut.answered,
        cut_candidate=cut.candidate,
        cut_stable=cut.stable,
        kl_sequence=figure_of(evaluation.evidence, "kl_sequence_nats"),
        entropy_candidate=figure_of(evaluation.evidence, "entropy_candidate_nats"),
        entropy_stable=figure_of(evaluation.evidence, "entropy_stable_nats"),
        halts=tuple(halt.reason for halt in halts.active(connection, Scope.PROMOTION)),
        alignment={judge: at_gate(connection, spec, judge) for judge in judges},
        verified=refused is None,
        verification=refused or "",
        quarantined=None if known is None else known.quarantine,
        stable_moved=_moved(connection, evaluation),
        agent=agent_of(connection, least=spec.gate.min_prompts, compared=evaluation.agent_version),
    )


def _moved(connection: Connection, evaluation: Evaluation) -> str | None:
    now = rollouts.in_force(connection).stable
    if now == evaluation.stable:
        return None
    then = evaluation.stable or "the base model"
    return f"{now or 'the base model'} is in force now; the comparison was with {then}"


def figures(result: CompareResult) -> dict[str, float | int | str]:
    """What goes into the evidence. JSON has no NaN: what is not finite is written as text."""
    measured = {
        "kl_sequence_nats": result.kl_sequence,
        "kl_token_nats": result.kl_token,
        "entropy_candidate_nats": result.entropy_candidate,
        "entropy_stable_nats": result.entropy_stable,
    }
    return {
        **{name: value if math.isfinite(value) else str(value) for name, value in measured.items()},
        "truncated_candidate": sum(answer.cut for answer in result.candidate if answer is not None),
        "truncated_stable": sum(answer.cut for answer in result.stable if answer is not None),
        "refused": len(result.refused),
        **({"refusal": next(iter(result.refused.values()))} if result.refused else {}),
    }


def _candidate_is_other(evaluation_id: int, trace_id: int) -> bool:
    """Whether the candidate adapter's answer is shown second: a hash, so that no order is systematic."""
    return hashlib.sha256(f"arms:{evaluation_id}:{trace_id}".encode()).digest()[0] % 2 == 1


def asking(evaluation_id: int, arms: Arms, judge: NamedJudge) -> Wanted:
    """The comparison of both answers to one prompt, by a judge of the gate's."""
    swapped = _candidate_is_other(evaluation_id, arms.trace_id)
    first, second = (arms.stable_id, arms.candidate_id) if swapped else (arms.candidate_id, arms.stable_id)
    return Wanted(
        judge, "pair", Purpose.GATE, arms.trace_id, first, other_id=second, evaluation_id=evaluation_id
    )


def _comparisons(connection: Connection, evaluation_id: int) -> tuple[Comparison, ...]:
    """Every prompt of the attempt with its result. A judgement that failed leaves no ruling: undecided."""
    rulings = {each.candidate_id: each for each in evaluations.rulings(connection, evaluation_id)}
    found = []
    for arms in evaluations.arms(connection, evaluation_id):
        result: Result = "undecided"
        if arms.same:
            result = "tie"
        elif (asked := rulings.get(arms.candidate_id)) is not None:
            result = _result(asked.choice, won="a")
        elif (asked := rulings.get(arms.stable_id)) is not None:
            result = _result(asked.choice, won="b")
        found.append(Comparison(arms.cluster, result))
    return tuple(found)


def _result(choice: str | None, *, won: Literal["a", "b"]) -> Result:
    if choice is None:
        return "undecided"
    if choice == "tie":
        return "tie"
    return "win" if choice == won else "loss"


def summary(evidence: GateEvidence, decision: Decision) -> dict[str, Any]:
    """What the decision saw, for people and for the gauges after a restart."""
    results: tuple[Result, ...] = ("win", "tie", "loss", "undecided")
    counts: dict[str, int] = {
        name: sum(one.result == name for one in evidence.comparisons) for name in results
    }
    rate = decision.win_rate
    return {
        **counts,
        "win_rate": None if rate is None else rate.estimate,
        "win_rate_lower": None if rate is None else rate.lower,
        "win_rate_upper": None if rate is None else rate.upper,
        "halts": list(evidence.halts or ()),
        "alignment": {
            judge.name: {"role": judge.role.value, **_alignment_summary(found)}
            for judge, found in evidence.alignment.items()
        },
    }


def _alignment_summary(found: Alignment | None) -> dict[str, Any]:
    if found is None:
        return {}
    summary = asdict(found)
    summary["standing"] = found.standing.value
    return summary

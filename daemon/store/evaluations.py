"""Evaluations: the gate's attempts, their answers and what the gate's judge said of them.

An attempt goes from `open` (nothing done yet) over `judging` (both arms' answers stored, comparisons asked
for) to `decided`. Its answers are candidates of batch `gate:<id>`: sample 0 is the candidate adapter's, 1 the
stable one's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, exists, func, insert, inspect, select, update

from daemon.store.agentversions import of_version
from daemon.store.candidates import StoredPrompt, prompts, row
from daemon.store.inserts import insert_new
from daemon.store.tables import AdapterRow, CandidateRow, EvaluationRow, TraceRow, VerdictRow
from policies.records import Role, Sampled, Split

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
ADAPTER = cast(Table, inspect(AdapterRow).local_table)
EVALUATION = cast(Table, inspect(EvaluationRow).local_table)
_E = EVALUATION.c

CANDIDATE_ARM, STABLE_ARM = 0, 1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One attempt. `stable` is the adapter it is compared with, None for the base model."""

    id: int
    adapter: str
    stable: str | None
    state: str
    epoch: int
    evidence: Mapping[str, Any]
    decision: str | None
    reasons: tuple[str, ...]
    agent_version: str | None = None
    """The version of the agent whose prompts were answered; None: not sampled yet, or not known."""


@dataclass(frozen=True, slots=True)
class Arms:
    """Both answers to one gate prompt."""

    trace_id: int
    cluster: str
    candidate_id: int
    stable_id: int
    same: bool
    """The answers read the same."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the gate's judge said of two candidates, in the order asked; None where it did not decide."""

    candidate_id: int
    other_id: int
    choice: str | None


@dataclass(frozen=True, slots=True)
class CutAnswers:
    """Of the prompts that both policies answered, how many answers of each a limit of length cut off."""

    answered: int
    candidate: int
    stable: int

    @property
    def counts(self) -> dict[str, int]:
        """As a state shows it."""
        return {"answered": self.answered, "candidate": self.candidate, "stable": self.stable}


def cut_off(evidence: Mapping[str, Any]) -> CutAnswers | None:
    """What an attempt's evidence says of it; None where nothing was sampled yet."""
    if "prompts" not in evidence:
        return None
    answered = evidence.get("answered", evidence["prompts"])
    counts = (evidence.get(f"truncated_{arm}", 0) for arm in ("candidate", "stable"))
    return CutAnswers(int(answered), *map(int, counts))


def batch_of(evaluation_id: int) -> str:
    """The batch name of an attempt's answers."""
    return f"gate:{evaluation_id}"


def undecided(connection: Connection) -> Evaluation | None:
    """The oldest attempt that is under way."""
    return _first(connection, _evaluations().where(_E.state != "decided").order_by(_E.id))


def latest(connection: Connection, adapter: str | None = None) -> Evaluation | None:
    """The newest attempt, of all adapters or of one."""
    query = _evaluations().order_by(_E.id.desc())
    return _first(connection, query if adapter is None else query.where(_E.adapter == adapter))


def last_rejection(connection: Connection) -> float | None:
    """When the gate last rejected an adapter."""
    found: float | None = connection.scalar(select(func.max(_E.decided_at)).where(_E.decision == "reject"))
    return found


def newest_passed(connection: Connection) -> Evaluation | None:
    """The newest attempt that passed and was not followed by another one on the same adapter."""
    passed = connection.execute(_evaluations().where(_E.decision == "promote").order_by(_E.id.desc()))
    for found in [_evaluation(each) for each in passed]:
        newest = latest(connection, found.adapter)
        if newest is not None and newest.id == found.id:
            return found
    return None


def held(
    connection: Connection, *, stable: str | None, limit: int, decisions: Sequence[str] = ("hold",)
) -> list[Evaluation]:
    """Attempts against `stable` that were held (or decided otherwise) and are their adapter's last, newest
    first.
    """
    newest = select(func.max(_E.id)).group_by(_E.adapter)
    query = (
        _evaluations()
        .where(_E.id.in_(newest), _E.state == "decided", _E.decision.in_(decisions))
        .where(_E.stable.is_(None) if stable is None else _E.stable == stable)
        .order_by(_E.id.desc())
        .limit(limit)
    )
    return [_evaluation(each) for each in connection.execute(query)]


def by_id(connection: Connection, evaluation_id: int) -> Evaluation | None:
    """The attempt as it stands now."""
    return _first(connection, _evaluations().where(_E.id == evaluation_id))


def recent(connection: Connection, *, limit: int) -> list[Evaluation]:
    """The newest attempts, newest first."""
    found = connection.execute(_evaluations().order_by(_E.id.desc()).limit(limit))
    return [_evaluation(each) for each in found]


def unevaluated(connection: Connection, *, stable: str | None) -> str | None:
    """The oldest published adapter that was never evaluated, is not quarantined, and is not in force."""
    query = (
        select(ADAPTER.c.name)
        .where(ADAPTER.c.quarantined_at.is_(None), ~exists().where(_E.adapter == ADAPTER.c.name))
        .order_by(ADAPTER.c.created_at, ADAPTER.c.name)
    )
    return next((name for name in connection.scalars(query) if name != stable), None)


def open_attempt(
    connection: Connection, adapter: str, *, stable: str | None, epoch: int, now: float
) -> Evaluation:
    """The attempt on the adapter that is under way, or a new one."""
    known = _first(connection, _evaluations().where(_E.adapter == adapter, _E.state != "decided"))
    if known is not None:
        return known
    values: dict[str, Any] = {
        "adapter": adapter,
        "stable": stable,
        "state": "open",
        "epoch": epoch,
        "evidence": {},
        "reasons": [],
        "created_at": now,
    }
    made = connection.scalar(insert(EVALUATION).values(values).returning(_E.id))
    found = by_id(connection, int(made or 0))
    assert found is not None
    return found


def note(connection: Connection, evaluation_id: int, evidence: Mapping[str, Any]) -> None:
    """Replaces the evidence of an attempt that has not been decided."""
    open_one = update(EVALUATION).where(_E.id == evaluation_id, _E.state != "decided")
    connection.execute(open_one.values(evidence=dict(evidence)))


def rebase(connection: Connection, evaluation: Evaluation, *, stable: str | None, epoch: int) -> Evaluation:
    """Sets an attempt that is still `open` against another stable adapter; returns it as it stands."""
    still_open = update(EVALUATION).where(_E.id == evaluation.id, _E.state == "open")
    connection.execute(still_open.values(stable=stable, epoch=epoch))
    return by_id(connection, evaluation.id) or evaluation


def start_judging(
    connection: Connection, evaluation_id: int, evidence: Mapping[str, Any], *, agent_version: str | None
) -> bool:
    """Moves an attempt from `open` to `judging`. False: it is not open any more."""
    moving = update(EVALUATION).where(_E.id == evaluation_id, _E.state == "open")
    values = {"state": "judging", "evidence": dict(evidence), "agent_version": agent_version}
    return connection.execute(moving.values(values)).rowcount == 1


def decide(
    connection: Connection,
    evaluation: Evaluation,
    *,
    decision: str,
    reasons: Sequence[str],
    evidence: Mapping[str, Any],
    now: float,
) -> bool:
    """Writes the decision over the state that the caller saw. False: another worker was faster."""
    unchanged = (
        _E.id == evaluation.id,
        _E.state == evaluation.state,
        _E.decision.is_not_distinct_from(evaluation.decision),
    )
    values = {
        "state": "decided",
        "decision": decision,
        "reasons": list(reasons),
        "evidence": dict(evidence),
        "decided_at": now,
    }
    return connection.execute(update(EVALUATION).where(*unchanged).values(values)).rowcount == 1


def gate_prompts(
    connection: Connection, *, salt: str, limit: int, agent_version: str | None = None
) -> list[StoredPrompt]:
    """Prompts of the gate split, one trace a cluster, `limit` clusters drawn by a hash with the salt. Those
    that were set aside are left out, and so are those of other versions of the agent than the given one
    (None: of all). A trace that is older than versions are told counts for every version.
    """
    query = (
        select(TRACE.c.cluster, func.min(TRACE.c.id))
        .where(TRACE.c.split == Split.GATE.value, TRACE.c.refused.is_(None), of_version(agent_version))
        .group_by(TRACE.c.cluster)
    )
    found = connection.execute(query).all()
    drawn = sorted(found, key=lambda each: sha256(f"{salt}:{each[0]}".encode()).digest())[:limit]
    return prompts(connection, [each[1] for each in drawn])


def store_answers(
    connection: Connection,
    evaluation: Evaluation,
    answers: Sequence[tuple[int, Sampled, Sampled]],
    *,
    now: float,
) -> None:
    """Stores (trace, candidate's answer, stable's answer); what is there already stays."""
    batch = batch_of(evaluation.id)
    rows = []
    for trace_id, candidate, stable in answers:
        for arm, adapter, sampled in (
            (CANDIDATE_ARM, evaluation.adapter, candidate),
            (STABLE_ARM, evaluation.stable or "", stable),
        ):
            rows.append(row(trace_id, sampled, adapter=adapter, batch=batch, sample=arm, now=now))
    insert_new(connection, CANDIDATE, rows)


def arms(connection: Connection, evaluation_id: int) -> list[Arms]:
    """The attempt's answers, by prompt."""
    one, other = CANDIDATE.alias("one"), CANDIDATE.alias("other")
    batch = batch_of(evaluation_id)
    query = (
        select(one.c.trace_id, TRACE.c.cluster, one.c.id, other.c.id, one.c.text, other.c.text)
        .join(other, other.c.trace_id == one.c.trace_id)
        .join(TRACE, TRACE.c.id == one.c.trace_id)
        .where(one.c.batch == batch, one.c.sample == CANDIDATE_ARM)
        .where(other.c.batch == batch, other.c.sample == STABLE_ARM)
        .order_by(one.c.trace_id)
    )
    return [
        Arms(each[0], each[1], each[2], each[3], each[4].strip() == each[5].strip())
        for each in connection.execute(query)
    ]


def rulings(connection: Connection, evaluation_id: int) -> list[Ruling]:
    """What the gate's judge decided in this attempt."""
    query = select(VERDICT.c.candidate_id, VERDICT.c.other_id, VERDICT.c.choice, VERDICT.c.flipped).where(
        VERDICT.c.evaluation_id == evaluation_id,
        VERDICT.c.role == Role.GATE.value,
        VERDICT.c.kind == "pair",
    )
    return [
        Ruling(each.candidate_id, each.other_id, None if each.flipped else each.choice)
        for each in connection.execute(query)
    ]


def _evaluations() -> Select[Any]:
    columns = (
        "id",
        "adapter",
        "stable",
        "state",
        "epoch",
        "evidence",
        "decision",
        "reasons",
        "agent_version",
    )
    return select(*(_E[name] for name in columns))


def _first(connection: Connection, query: Select[Any]) -> Evaluation | None:
    found = connection.execute(query.limit(1)).first()
    return None if found is None else _evaluation(found)


def _evaluation(each: Any) -> Evaluation:
    return Evaluation(
        each.id,
        each.adapter,
        each.stable,
        each.state,
        each.epoch,
        each.evidence,
        each.decision,
        tuple(each.reasons),
        each.agent_version,
    )

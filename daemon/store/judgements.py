"""Judgements: what is to be judged, and what a judge needs to see of it.

A judgement's natural key is its judge's name, purpose, kind, candidates and evaluation: asking again for the
same adds nothing, and a comparison asked for the other way round is the same comparison. What a judge of a
new version is asked again has that version in its key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import Connection, Table, func, inspect, select, update

from daemon.store import queues, tally
from daemon.store.claims import Claim
from daemon.store.inserts import insert_new
from daemon.store.tables import CandidateRow, EvaluationRow, JudgementRow, TraceRow
from policies.judging.judges import NamedJudge
from policies.records import Message, Origin, Tokens, reasoning_of
from policies.states import Purpose

JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
TRACE = cast(Table, inspect(TraceRow).local_table)
EVALUATION = cast(Table, inspect(EvaluationRow).local_table)

FIRST = -1.0
"""Due before what is due at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A judgement to ask for. A pair has `other_id`; its verdict is in the order of the two ids given here.

    `probability` is that with which this one was chosen among its like. `again`: the judge's version has
    to be asked, whatever another one said.
    """

    judge: NamedJudge
    kind: Literal["score", "pair"]
    purpose: Purpose
    trace_id: int
    candidate_id: int
    other_id: int | None = None
    evaluation_id: int | None = None
    probability: float = 1.0
    first: bool = False
    """It is made before the others: somebody waits for it."""
    again: bool = False

    @property
    def key(self) -> str:
        """The natural key."""
        ids = [self.candidate_id] if self.other_id is None else sorted((self.candidate_id, self.other_id))
        evaluation = "" if self.evaluation_id is None else f":e{self.evaluation_id}"
        version = f":v{self.judge.version[:12]}" if self.again else ""
        return f"{self.judge.name}:{self.purpose}:{self.kind}:{'-'.join(map(str, ids))}{evaluation}{version}"


@dataclass(frozen=True, slots=True)
class Material:
    """What a claimed judgement is about: the conversation and one answer, or two.

    `reasoning` is what was thought before each answer, where it was asked for. `adapter` produced the first
    answer ('' for the base model); `contender` is the adapter under evaluation. `outputs` are the answers as
    messages, with their tokens where they are known and the tools there were, where they were asked for.
    """

    messages: tuple[Message, ...]
    reference: str | None
    answers: tuple[str, ...]
    adapter: str
    contender: str | None
    reasoning: tuple[str, ...] = ()
    outputs: tuple[tuple[Message, ...], ...] = ()
    tokens: tuple[Tokens | None, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Unplanned:
    """A stored trace of which nobody has decided what to judge. `candidate_id` is its logged answer."""

    trace_id: int
    event_id: str
    candidate_id: int | None


def request(connection: Connection, wanted: Sequence[Wanted], now: float) -> int:
    """Puts judgements into the queue; returns how many were not there yet."""
    unique = {each.key: each for each in wanted}
    rows = [
        {
            "key": key,
            "judge": each.judge.name,
            "role": each.judge.role.value,
            "kind": each.kind,
            "purpose": each.purpose,
            "trace_id": each.trace_id,
            "candidate_id": each.candidate_id,
            "other_id": each.other_id,
            "evaluation_id": each.evaluation_id,
            "probability": each.probability,
            "state": "open",
            "attempts": 0,
            "not_before": FIRST if each.first else 0.0,
            "created_at": now,
        }
        for key, each in unique.items()
    ]
    return len(insert_new(connection, JUDGEMENT, rows))


def open_count(
    connection: Connection,
    *,
    judge: str | None = None,
    purpose: str | None = None,
    evaluation_id: int | None = None,
) -> int:
    """How many judgements wait or are claimed."""
    query = select(func.count()).select_from(JUDGEMENT).where(JUDGEMENT.c.state == "open")
    if judge is not None:
        query = query.where(JUDGEMENT.c.judge == judge)
    if purpose is not None:
        query = query.where(JUDGEMENT.c.purpose == purpose)
    if evaluation_id is not None:
        query = query.where(JUDGEMENT.c.evaluation_id == evaluation_id)
    return int(connection.scalar(query) or 0)


def waiting(connection: Connection) -> dict[str, tuple[int, str]]:
    """By judge: how many judgements are open, and an error with which those put back longest were, or ""."""
    return {
        judge: (count, queues.look(connection, judge).error)
        for judge, count in sorted(tally.read(connection).open().items())
    }


def material(
    connection: Connection, claims: Sequence[Claim], *, reasoning: bool = False, whole: bool = False
) -> dict[int, Material]:
    """What the claimed judgements are about, by judgement. One that was erased since is left out."""
    ids = {each for claim in claims for each in (claim.candidate_id, claim.other_id) if each is not None}
    columns = [CANDIDATE.c.id, CANDIDATE.c.text, CANDIDATE.c.adapter]
    columns += [CANDIDATE.c.output] if reasoning or whole else []
    columns += [CANDIDATE.c.tokens] if whole else []
    answers = {row.id: row for row in connection.execute(select(*columns).where(CANDIDATE.c.id.in_(ids)))}
    of_trace = select(TRACE.c.id, TRACE.c.payload).where(TRACE.c.id.in_({claim.trace_id for claim in claims}))
    payloads = {row.id: row.payload for row in connection.execute(of_trace)}
    shown = {trace_id: _messages(payload) for trace_id, payload in payloads.items()}
    contenders = _contenders(connection, claims)
    found = {}
    for claim in claims:
        wanted = [each for each in (claim.candidate_id, claim.other_id) if each is not None]
        if claim.trace_id not in payloads or any(each not in answers for each in wanted):
            continue
        found[claim.id] = Material(
            messages=shown[claim.trace_id],
            reference=payloads[claim.trace_id].get("reference"),
            answers=tuple(answers[each].text for each in wanted),
            adapter=answers[claim.candidate_id].adapter,
            contender=contenders.get(claim.evaluation_id) if claim.evaluation_id is not None else None,
            reasoning=tuple(_thought(answers[each].output) for each in wanted) if reasoning else (),
            **(_whole(payloads[claim.trace_id], [answers[each] for each in wanted]) if whole else {}),
        )
    return found


def unplanned(connection: Connection, *, limit: int) -> list[Unplanned]:
    """Traces to decide on, oldest first; on PostgreSQL those that another planner holds are skipped."""
    due = select(TRACE.c.id, TRACE.c.event_id).where(TRACE.c.planned_at.is_(None))
    traces = connection.execute(due.order_by(TRACE.c.id).limit(limit).with_for_update(skip_locked=True)).all()
    logged = select(CANDIDATE.c.trace_id, CANDIDATE.c.id).where(
        CANDIDATE.c.trace_id.in_([row.id for row in traces]), CANDIDATE.c.origin == Origin.LOGGED.value
    )
    by_trace = {row.trace_id: row.id for row in connection.execute(logged)}
    return [Unplanned(row.id, row.event_id, by_trace.get(row.id)) for row in traces]


def mark_planned(connection: Connection, trace_ids: Sequence[int], now: float) -> None:
    """Records that it is decided what to judge of these traces."""
    connection.execute(update(TRACE).where(TRACE.c.id.in_(trace_ids)).values(planned_at=now))


def _messages(payload: dict[str, Any]) -> tuple[Message, ...]:
    return tuple(Message.model_validate(each) for each in payload["messages"])


def _whole(payload: dict[str, Any], answers: Sequence[Any]) -> dict[str, Any]:
    """The fields of `Material` that hold answers as messages."""
    return {
        "outputs": tuple(tuple(Message.model_validate(part) for part in each.output) for each in answers),
        "tokens": tuple(
            None if each.tokens is None else Tokens.model_validate(each.tokens) for each in answers
        ),
        "tools": tuple(payload.get("tools") or ()),
    }


def _thought(output: list[dict[str, Any]]) -> str:
    return reasoning_of([Message.model_validate(each) for each in output])


def _contenders(connection: Connection, claims: Sequence[Claim]) -> dict[int, str]:
    ids = {claim.evaluation_id for claim in claims if claim.evaluation_id is not None}
    if not ids:
        return {}
    query = select(EVALUATION.c.id, EVALUATION.c.adapter).where(EVALUATION.c.id.in_(ids))
    return {row.id: row.adapter for row in connection.execute(query)}

"""Soundings: what a policy under training answers, stored for the large judge, and what that gave.

They are candidates of their own origin, with the run as their batch and the step as their sample. Nothing is
curated from them and no later run learns from them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, Table, inspect, select, update

from daemon.store import candidates, judgements
from daemon.store.inserts import insert_new
from daemon.store.judgements import FIRST, Wanted
from daemon.store.tables import CandidateRow, JudgementRow, TraceRow, VerdictRow
from policies.judging.judges import NamedJudge
from policies.records import Origin, Sampled
from policies.states import Purpose

CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)
TRACE = cast(Table, inspect(TraceRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
OVER = "the run that asked for it has ended"
UNASKED = "its prompt is stored no more"


@dataclass(frozen=True, slots=True)
class SoundingScores:
    """What became of a step's answers: scores in points by trace, how many wait, and of those that will
    have none how many there are by why.
    """

    scores: Mapping[int, float]
    waiting: int
    missing: Mapping[str, int]


def ask(
    connection: Connection,
    *,
    run: str,
    step: int,
    answers: Mapping[int, Sampled],
    judges: Sequence[NamedJudge],
    now: float,
) -> int:
    """Stores a step's answers by their trace, and asks these judges for a score of each, before all else
    that they are asked. Asking again opens only what was given up. Returns how many are to be judged now.
    """
    known = _known(connection, list(answers))
    rows = [
        candidates.row(trace, answers[trace], adapter=run, batch=run, sample=step, now=now)
        | {"origin": Origin.SOUNDED.value}
        for trace in known
    ]
    insert_new(connection, CANDIDATE, rows)
    stored = _stored(connection, run, step)
    wanted = [
        Wanted(judge, "score", Purpose.SOUNDING, trace, stored[trace], first=True)
        for judge in judges
        for trace in known
        if trace in stored
    ]
    return judgements.request(connection, wanted, now) + _reopened(connection, list(stored.values()))


def found(connection: Connection, *, run: str, step: int, traces: Sequence[int]) -> SoundingScores:
    """What there is by now of the answers to these events' prompts."""
    columns = (
        JUDGEMENT.c.trace_id,
        JUDGEMENT.c.state,
        JUDGEMENT.c.error,
        VERDICT.c.value,
        VERDICT.c.abstention,
    )
    query = (
        select(*columns)
        .join(VERDICT, VERDICT.c.judgement_id == JUDGEMENT.c.id, isouter=True)
        .where(JUDGEMENT.c.candidate_id.in_(_stored(connection, run, step).values()))
    )
    by_trace = {row.trace_id: row for row in connection.execute(query)}
    scores: dict[int, float] = {}
    missing: Counter[str] = Counter()
    waiting = 0
    for trace in traces:
        row = by_trace.get(trace)
        if row is None:
            missing[UNASKED] += 1
        elif row.value is not None:
            scores[trace] = float(row.value)
        elif row.state == "open":
            waiting += 1
        else:
            missing[row.abstention or row.error or "no verdict"] += 1
    return SoundingScores(scores, waiting, missing)


def close(connection: Connection, *, run: str, now: float) -> int:
    """Gives up what is still to be judged of a run: nobody waits for it. Returns how many that were."""
    mine = select(CANDIDATE.c.id).where(CANDIDATE.c.batch == run, CANDIDATE.c.origin == Origin.SOUNDED.value)
    over = update(JUDGEMENT).where(
        JUDGEMENT.c.candidate_id.in_(mine),
        JUDGEMENT.c.purpose == Purpose.SOUNDING,
        JUDGEMENT.c.state == "open",
    )
    values = {"state": "failed", "done_at": now, "token": None, "expires_at": None, "error": OVER}
    return connection.execute(over.values(values)).rowcount


def _reopened(connection: Connection, ids: Sequence[int]) -> int:
    """Of these answers' judgements those that were given up with a run that goes on now; how many."""
    again = update(JUDGEMENT).where(
        JUDGEMENT.c.candidate_id.in_(ids), JUDGEMENT.c.state == "failed", JUDGEMENT.c.error == OVER
    )
    values = {"state": "open", "attempts": 0, "done_at": None, "error": None, "not_before": FIRST}
    return connection.execute(again.values(values)).rowcount


def _known(connection: Connection, traces: Sequence[int]) -> list[int]:
    """Those of the events that are stored."""
    return list(connection.scalars(select(TRACE.c.id).where(TRACE.c.id.in_(traces)).order_by(TRACE.c.id)))


def _stored(connection: Connection, run: str, step: int) -> dict[int, int]:
    """A step's answers by trace."""
    query = select(CANDIDATE.c.trace_id, CANDIDATE.c.id).where(
        CANDIDATE.c.batch == run, CANDIDATE.c.sample == step, CANDIDATE.c.origin == Origin.SOUNDED.value
    )
    return {row.trace_id: row.id for row in connection.execute(query)}

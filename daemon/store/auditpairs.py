"""Audit pairs that people labelled, with both answers: what a reward model is held against."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, inspect, select

from daemon.store import alignment
from daemon.store.tables import CandidateRow, TraceRow
from policies import snapshot
from policies.alignment import Choice
from policies.judging.judges import NamedJudge
from policies.records import Message, Tokens, Trace

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
IDS = 500
"""Ids a statement."""


@dataclass(frozen=True, slots=True)
class AuditPair:
    """A labelled pair. In `pair` chosen is answer a and rejected answer b, whatever people said of them;
    `judge` None: the judge did not decide, or was not asked.
    """

    cluster: str
    humans: tuple[Choice, ...]
    judge: Choice | None
    length_a: int
    length_b: int
    pair: snapshot.Pair


def labelled(connection: Connection, judge: NamedJudge | None, *, min_gap: float) -> list[AuditPair]:
    """All of them, the newest label first, with what the judge said of each; None: there is none."""
    said, of, _ = alignment.humans(connection)
    judged = {} if judge is None else alignment.choices(connection, judge, said, min_gap=min_gap)
    answers = _answers(connection, sorted({one for pair in said for one in pair}))
    return [
        AuditPair(
            cluster=of[a, b].cluster,
            humans=tuple(humans),
            judge=judged.get((a, b)),
            length_a=len(answers[a].text),
            length_b=len(answers[b].text),
            pair=_pair(number, answers[a], answers[b]),
        )
        for number, ((a, b), humans) in enumerate(said.items())
    ]


def _answers(connection: Connection, ids: Sequence[int]) -> dict[int, Any]:
    columns = (CANDIDATE.c[name] for name in ("id", "text", "output", "tokens", "truncated"))
    query = select(*columns, TRACE.c.payload).join(TRACE, TRACE.c.id == CANDIDATE.c.trace_id)
    return {
        row.id: row
        for start in range(0, len(ids), IDS)
        for row in connection.execute(query.where(CANDIDATE.c.id.in_(ids[start : start + IDS])))
    }


def _pair(number: int, a: Any, b: Any) -> snapshot.Pair:
    trace = Trace.model_validate(a.payload)
    return snapshot.Pair(
        preference=number,
        prompt=trace.messages,
        chosen=tuple(Message.model_validate(message) for message in a.output),
        rejected=tuple(Message.model_validate(message) for message in b.output),
        tools=trace.tools,
        chosen_tokens=None if a.tokens is None else Tokens.model_validate(a.tokens),
        rejected_tokens=None if b.tokens is None else Tokens.model_validate(b.tokens),
        rejected_truncated=b.truncated,
    )

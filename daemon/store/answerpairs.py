"""Two candidates of a trace as a pair of a snapshot, with the prompt that both answer."""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import Connection, Table, inspect, select

from daemon.store.tables import CandidateRow, TraceRow
from policies import snapshot
from policies.records import Message, Tokens, Trace

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
IDS = 500
"""Ids a statement."""


def answers(connection: Connection, ids: Sequence[int]) -> dict[int, Any]:
    """The candidates with the payload of their trace, by id."""
    columns = (CANDIDATE.c[name] for name in ("id", "text", "output", "tokens", "truncated"))
    query = select(*columns, TRACE.c.payload).join(TRACE, TRACE.c.id == CANDIDATE.c.trace_id)
    return {
        row.id: row
        for start in range(0, len(ids), IDS)
        for row in connection.execute(query.where(CANDIDATE.c.id.in_(ids[start : start + IDS])))
    }


def pair(number: int, chosen: Any, rejected: Any) -> snapshot.Pair:
    """Two rows of `answers` as a pair of that number."""
    trace = Trace.model_validate(chosen.payload)
    return snapshot.Pair(
        preference=number,
        prompt=trace.messages,
        chosen=tuple(Message.model_validate(message) for message in chosen.output),
        rejected=tuple(Message.model_validate(message) for message in rejected.output),
        tools=trace.tools,
        chosen_tokens=None if chosen.tokens is None else Tokens.model_validate(chosen.tokens),
        rejected_tokens=None if rejected.tokens is None else Tokens.model_validate(rejected.tokens),
        rejected_truncated=rejected.truncated,
    )

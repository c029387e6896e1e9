"""Verdicts: one per judgement, written when it ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, inspect, select

from daemon.store.hints import unindexed
from daemon.store.inserts import insert_of
from daemon.store.tables import CandidateRow, PositionRow, TraceRow, VerdictRow
from policies.records import Role
from policies.states import Purpose

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
POSITION = cast(Table, inspect(PositionRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
_C = VERDICT.c
RECENT = 100


def insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Stores verdicts (columns of VerdictRow); a judgement that has one keeps it. Returns how many are new.

    Call it in the transaction that finished their judgements.
    """
    # One compiled statement for all: with many rows in it, it would be compiled each time.
    statement = insert_of(connection, VERDICT).on_conflict_do_nothing().returning(_C.id)
    return sum(len(connection.execute(statement, dict(row)).all()) for row in rows)


def traffic_rewards(connection: Connection, role: Role) -> dict[str, list[float]]:
    """The rewards of logged traffic, oldest first, by the adapter that answered ('': the base model)."""
    query = select(_C.adapter, _C.reward).where(
        _C.role == role.value, _C.kind == "score", _C.purpose == Purpose.TRAFFIC, _C.reward.is_not(None)
    )
    found: dict[str, list[float]] = {}
    for adapter, reward in connection.execute(query.order_by(_C.id)):
        found.setdefault(adapter, []).append(float(reward))
    return found


def abstained(connection: Connection, judge: str, *, newest: int = RECENT) -> tuple[int, int, str]:
    """Of the judge's newest verdicts of each kind: how many are abstentions, of how many, and the last one's
    reason, "" where none is.
    """
    said: list[tuple[float, str | None]] = []
    for kind in ("score", "pair"):
        query = select(_C.created_at, _C.abstention).where(_C.judge == judge, _C.kind == kind)
        found = connection.execute(query.order_by(_C.created_at.desc(), _C.id.desc()).limit(newest))
        said += [(row.created_at, row.abstention) for row in found]
    reasons = [why for _, why in sorted(said, key=lambda each: each[0], reverse=True) if why is not None]
    return len(reasons), len(said), next(iter(reasons), "")


@dataclass(frozen=True, slots=True)
class VerdictFilter:
    """Which verdicts are shown. `event` is the id that the log gave it; `below` and `above` bound the reward.

    `lowest`: the worst first, of those that have a reward; else the newest first.
    """

    event: str | None = None
    judge: str | None = None
    below: float | None = None
    above: float | None = None
    abstained: bool = False
    lowest: bool = False


SHOWN = (
    *(
        "id",
        "created_at",
        "role",
        "judge",
        "version",
        "kind",
        "purpose",
        "value",
        "reward",
        "choice",
        "flipped",
    ),
    *("confidence", "scores", "critique", "abstention", "cost_usd", "adapter", "trace_id"),
    *("candidate_id", "other_id"),
)
LOOKED_THROUGH = 10_000
"""Newest verdicts among which those wanted are looked for; an event's are found by it."""


def found(connection: Connection, wanted: VerdictFilter, *, limit: int) -> list[dict[str, Any]]:
    """The verdicts with the event they are about and the answers they judge."""
    rows = [dict(row) for row in connection.execute(_wanted(wanted).limit(limit)).mappings()]
    traces = {row["trace_id"] for row in rows}
    events = select(TRACE.c.id, TRACE.c.source, TRACE.c.event_id).where(TRACE.c.id.in_(traces))
    of = {row.id: row for row in connection.execute(events)}
    ids = {row[name] for row in rows for name in ("candidate_id", "other_id") if row[name] is not None}
    texts = select(CANDIDATE.c.id, CANDIDATE.c.text).where(CANDIDATE.c.id.in_(ids))
    said = {row.id: row.text for row in connection.execute(texts)}
    return [
        {
            **{name: row[name] for name in SHOWN if name not in {"trace_id", "candidate_id", "other_id"}},
            "source": of[row["trace_id"]].source if row["trace_id"] in of else None,
            "event": of[row["trace_id"]].event_id if row["trace_id"] in of else None,
            "answer": said.get(row["candidate_id"]),
            "other": None if row["other_id"] is None else said.get(row["other_id"]),
        }
        for row in rows
    ]


def _wanted(wanted: VerdictFilter) -> Select[Any]:
    table = select(*(_C[name] for name in SHOWN))
    if wanted.event is not None:
        events = select(TRACE.c.id).where(
            TRACE.c.source.in_(select(POSITION.c.source).distinct()), TRACE.c.event_id == wanted.event
        )
        table = table.where(_C.trace_id.in_(events))
    if wanted.judge is not None:
        judge = _C.judge if wanted.event is None else unindexed(_C.judge)
        table = table.where(judge == wanted.judge)
    some = table.order_by(_C.id.desc()).limit(LOOKED_THROUGH).subquery("some")
    query = select(*some.c)
    if wanted.abstained:
        query = query.where(some.c.abstention.is_not(None))
    if wanted.below is not None:
        query = query.where(some.c.reward < wanted.below)
    if wanted.above is not None:
        query = query.where(some.c.reward > wanted.above)
    if wanted.lowest:
        return query.where(some.c.reward.is_not(None)).order_by(some.c.reward, some.c.id.desc())
    return query.order_by(some.c.id.desc())

"""Preferences: judged prompts in, pairs kept once, and the pairs of a snapshot out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, exists, func, inspect, select, update

from daemon.store.hints import unindexed
from daemon.store.inserts import insert_new
from daemon.store.tables import (
    CandidateRow,
    JudgementRow,
    PreferenceRow,
    SnapshotRow,
    TraceRow,
    VerdictRow,
)
from policies import snapshot
from policies.curation import Judged, JudgedPrompt, Preference, Score
from policies.records import Message, Role, Split, Tokens, Trace

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
PREFERENCE = cast(Table, inspect(PreferenceRow).local_table)
SNAPSHOT = cast(Table, inspect(SnapshotRow).local_table)

IDS = 500
"""Ids a statement."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored preference, as the caps see it."""

    id: int
    contributor: str


def uncurated(connection: Connection, *, limit: int) -> list[JudgedPrompt]:
    """Train prompts that were sampled, whose scores are all in, and that were not looked at yet."""
    scoring = exists().where(
        JUDGEMENT.c.trace_id == TRACE.c.id,
        JUDGEMENT.c.kind == "score",
        JUDGEMENT.c.role == Role.SMALL.value,
        JUDGEMENT.c.state == "open",
    )
    columns = ("id", "source", "event_id", "cluster", "split", "session", "subject")
    # A range, not IS NOT NULL: SQLite finds only that in an index, and most of the traffic is never sampled.
    query = (
        select(*(TRACE.c[name] for name in columns))
        .where(TRACE.c.split == Split.TRAIN.value, TRACE.c.curated_at.is_(None))
        .where(TRACE.c.sampled_at > 0, ~scoring)
        .order_by(TRACE.c.id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    judged = _judged(connection, [row.id for row in rows])
    return [
        JudgedPrompt(row.id, row.cluster, Split(row.split), contributor(row), tuple(judged[row.id]))
        for row in rows
    ]


def contributor(row: Any) -> str:
    """Who a preference is counted for: the subject, else the session, else the event itself."""
    if row.subject:
        return f"subject:{row.subject}"
    if row.session:
        return f"session:{row.session}"
    return f"event:{row.source}:{row.event_id}"


def store_preferences(
    connection: Connection, preferences: Sequence[Preference], *, looked_at: Sequence[int], now: float
) -> int:
    """Stores new preferences and marks the prompts; answers how many were new."""
    rows = [
        {
            "trace_id": each.trace_id,
            "cluster": each.cluster,
            "contributor": each.contributor,
            "chosen_id": each.chosen_id,
            "rejected_id": each.rejected_id,
            "margin": each.margin,
            "difference": each.difference,
            "weight": 1.0,
            "soft": each.soft,
            "verdict_ids": list(each.verdict_ids),
            "created_at": now,
        }
        for each in preferences
    ]
    inserted = insert_new(connection, PREFERENCE, rows)
    connection.execute(update(TRACE).where(TRACE.c.id.in_(looked_at)).values(curated_at=now))
    return len(inserted)


def newest(connection: Connection, *, limit: int | None = None) -> list[Kept]:
    """Every preference of a train prompt, newest first; at most `limit`."""
    query = (
        select(PREFERENCE.c.id, PREFERENCE.c.contributor)
        .join(TRACE, TRACE.c.id == PREFERENCE.c.trace_id)
        .where(unindexed(TRACE.c.split) == Split.TRAIN.value)
        .order_by(PREFERENCE.c.id.desc())
        .limit(limit)
    )
    return [Kept(row.id, row.contributor) for row in connection.execute(query)]


def count(connection: Connection) -> int:
    """How many preferences are stored."""
    return connection.execute(select(func.count(PREFERENCE.c.id))).scalar_one()


def since(connection: Connection, at: float | None) -> int:
    """How many preferences were stored after `at` (None: ever)."""
    query = select(func.count(PREFERENCE.c.id))
    return connection.execute(query if at is None else query.where(PREFERENCE.c.created_at > at)).scalar_one()


def pairs(connection: Connection, preference_ids: Sequence[int]) -> list[snapshot.Pair]:
    """The preferences as a snapshot holds them, in the order asked."""
    chosen, rejected = CANDIDATE.alias("chosen"), CANDIDATE.alias("rejected")
    query = (
        select(
            *(PREFERENCE.c.id, PREFERENCE.c.weight, PREFERENCE.c.soft, TRACE.c.payload),
            *(chosen.c.output.label("chosen"), rejected.c.output.label("rejected")),
            *(chosen.c.tokens.label("chosen_tokens"), rejected.c.tokens.label("rejected_tokens")),
            rejected.c.truncated.label("rejected_truncated"),
        )
        .join(TRACE, TRACE.c.id == PREFERENCE.c.trace_id)
        .join(chosen, chosen.c.id == PREFERENCE.c.chosen_id)
        .join(rejected, rejected.c.id == PREFERENCE.c.rejected_id)
    )
    found: dict[int, snapshot.Pair] = {}
    for start in range(0, len(preference_ids), IDS):
        wanted = preference_ids[start : start + IDS]
        for row in connection.execute(query.where(PREFERENCE.c.id.in_(wanted))):
            found[row.id] = _pair(row)
    return [found[preference_id] for preference_id in preference_ids]


def store_snapshot(
    connection: Connection,
    name: str,
    path: str,
    preference_ids: Sequence[int],
    *,
    note: str,
    now: float,
    candidate_ids: Sequence[int] | None = None,
) -> None:
    """Records a snapshot; the same one twice is one row. `candidate_ids` are those of one that holds answers
    by themselves.
    """
    row = {
        "id": name,
        "path": path,
        "pairs": len(preference_ids if candidate_ids is None else candidate_ids),
        "preference_ids": list(preference_ids),
        "candidate_ids": None if candidate_ids is None else list(candidate_ids),
        "note": note,
        "created_at": now,
    }
    insert_new(connection, SNAPSHOT, [row])


def _judged(connection: Connection, trace_ids: Sequence[int]) -> dict[int, list[Judged]]:
    scores: dict[int, list[Score]] = {}
    verdicts = (
        select(VERDICT.c.id, VERDICT.c.candidate_id, VERDICT.c.role, VERDICT.c.version, VERDICT.c.reward)
        .where(VERDICT.c.trace_id.in_(trace_ids), VERDICT.c.kind == "score")
        .where(VERDICT.c.reward.is_not(None), VERDICT.c.abstention.is_(None))
        .order_by(VERDICT.c.id)
    )
    for row in connection.execute(verdicts):
        score = Score(row.id, Role(row.role), row.version, row.reward)
        scores.setdefault(row.candidate_id, []).append(score)
    candidates = (
        select(CANDIDATE.c.id, CANDIDATE.c.trace_id, CANDIDATE.c.text, CANDIDATE.c.truncated)
        .where(CANDIDATE.c.trace_id.in_(trace_ids))
        .order_by(CANDIDATE.c.id)
    )
    found: dict[int, list[Judged]] = {trace_id: [] for trace_id in trace_ids}
    for answer in connection.execute(candidates):
        given = tuple(scores.get(answer.id, ()))
        found[answer.trace_id].append(Judged(answer.id, answer.text, given, truncated=answer.truncated))
    return found


def _pair(row: Any) -> snapshot.Pair:
    trace = Trace.model_validate(row.payload)
    return snapshot.Pair(
        preference=row.id,
        prompt=trace.messages,
        chosen=tuple(Message.model_validate(message) for message in row.chosen),
        rejected=tuple(Message.model_validate(message) for message in row.rejected),
        weight=row.weight,
        soft=row.soft,
        tools=trace.tools,
        chosen_tokens=_tokens(row.chosen_tokens),
        rejected_tokens=_tokens(row.rejected_tokens),
        rejected_truncated=row.rejected_truncated,
    )


def _tokens(stored: dict[str, Any] | None) -> Tokens | None:
    return None if stored is None else Tokens.model_validate(stored)

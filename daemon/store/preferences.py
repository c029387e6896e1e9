"""Preferences: judged prompts in, pairs kept once, and the pairs of a snapshot out."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, exists, func, inspect, literal, select, update

from daemon.store import tally
from daemon.store.inserts import insert_new
from daemon.store.snapshots import Held
from daemon.store.tables import (
    CandidateRow,
    JudgementRow,
    PreferenceRow,
    SnapshotRow,
    TraceRow,
    VerdictRow,
)
from policies import snapshot
from policies.clusters import said
from policies.curation import Judged, JudgedPrompt, Preference, Score
from policies.likeness import Sketch
from policies.records import Message, Origin, Role, Split, Tokens, Trace
from policies.selection import Offer

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
PREFERENCE = cast(Table, inspect(PreferenceRow).local_table)
SNAPSHOT = cast(Table, inspect(SnapshotRow).local_table)

IDS = 500
"""Ids a statement."""


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
        .where(
            TRACE.c.split == Split.TRAIN.value, TRACE.c.curated_at.is_(None), TRACE.c.incomplete.is_(False)
        )
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


def prompts(connection: Connection, trace_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """What was said in each trace's prompt, turn by turn and without the system's part."""
    query = select(TRACE.c.id, TRACE.c.payload["messages"].label("messages")).where(TRACE.c.id.in_(trace_ids))
    found = {}
    for row in connection.execute(query):
        messages = (Message.model_validate(message) for message in row.messages)
        found[row.id] = tuple(said(message) for message in messages if message.role != "system")
    return found


def store_preferences(
    connection: Connection,
    preferences: Sequence[Preference],
    *,
    looked_at: Sequence[int],
    now: float,
    sketches: Mapping[int, Sketch] | None = None,
) -> int:
    """Stores new preferences and marks the prompts; returns how many were new. `sketches` are by trace."""
    known = sketches or {}
    versions = _versions(connection, [each.trace_id for each in preferences])
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
            "agent_version": versions[each.trace_id],
            "sketch": " ".join(known[each.trace_id]) if each.trace_id in known else None,
            "created_at": now,
        }
        for each in preferences
    ]
    inserted = insert_new(connection, PREFERENCE, rows)
    connection.execute(update(TRACE).where(TRACE.c.id.in_(looked_at)).values(curated_at=now))
    return len(inserted)


def newest(
    connection: Connection,
    *,
    limit: int | None = None,
    tag: str | None = None,
    learned: Collection[int] = (),
) -> list[Offer]:
    """Every preference of a train prompt, newest first; of the newest `limit`, where there is one, and then
    those of `learned`.

    `tag` says under which tag of its trace a preference's topic is. `learned` are the ids of preferences that
    a run learned from.
    """
    known = frozenset(learned)
    rows = list(connection.execute(_OFFERED.order_by(PREFERENCE.c.id.desc()).limit(limit)))
    older = sorted(known.difference(row.id for row in rows), reverse=True)
    for start in range(0, len(older), IDS):
        part = older[start : start + IDS]
        rows += connection.execute(_OFFERED.where(PREFERENCE.c.id.in_(part)).order_by(PREFERENCE.c.id.desc()))
    # Traces by their ids, and no join: both databases take one for a reason to read every trace.
    events = _events(connection, sorted({row.trace_id for row in rows}), tag)
    return [_offer(row, events[row.trace_id], known) for row in rows if row.trace_id in events]


_OFFERED = select(*(PREFERENCE.c[name] for name in ("id", "contributor", "sketch", "trace_id"))).where(
    PREFERENCE.c.weight > 0
)
"""A pair without weight is of a correction that was withdrawn, or of a kind that is worth nothing."""


def _events(connection: Connection, trace_ids: Sequence[int], tag: str | None) -> dict[int, Any]:
    """When they were and of which topic, for those of the train split."""
    topic = literal("") if tag is None else func.coalesce(TRACE.c.payload["tags"][tag].as_string(), "")
    query = select(TRACE.c.id, TRACE.c.split, TRACE.c.ts, TRACE.c.stored_at, topic.label("topic"))
    found: dict[int, Any] = {}
    for start in range(0, len(trace_ids), IDS):
        rows = connection.execute(query.where(TRACE.c.id.in_(trace_ids[start : start + IDS])))
        found |= {row.id: row for row in rows if row.split == Split.TRAIN.value}
    return found


def _offer(row: Any, event: Any, learned: Collection[int]) -> Offer:
    """Strangers write an event's time; later than it came in it was not."""
    return Offer(
        row.contributor,
        id=row.id,
        at=min(event.ts, event.stored_at),
        topic=event.topic,
        sketch=tuple((row.sketch or "").split()),
        seen=row.id in learned,
    )


def count(connection: Connection) -> int:
    """How many preferences are stored."""
    return tally.read(connection).of("preference")


def giving(connection: Connection, events: Sequence[int]) -> int:
    """How many of these events gave a preference."""
    query = select(PREFERENCE.c.trace_id).distinct()
    return sum(
        len(connection.scalars(query.where(PREFERENCE.c.trace_id.in_(events[start : start + IDS]))).all())
        for start in range(0, len(events), IDS)
    )


def newest_id(connection: Connection) -> int | None:
    """The id of the preference that was stored last."""
    found: int | None = connection.scalar(select(func.max(PREFERENCE.c.id)))
    return found


def since(connection: Connection, at: float | None, *, most: int) -> int:
    """How many preferences were stored after `at` (None: ever); beyond `most` nobody counts on."""
    some = select(PREFERENCE.c.id).where(PREFERENCE.c.weight > 0)
    some = some.where(PREFERENCE.c.created_at > (-math.inf if at is None else at))
    return connection.execute(select(func.count()).select_from(some.limit(most).subquery())).scalar_one()


def pairs(connection: Connection, preference_ids: Sequence[int]) -> list[snapshot.Pair]:
    """The preferences as a snapshot holds them, in the order asked."""
    chosen, rejected = CANDIDATE.alias("chosen"), CANDIDATE.alias("rejected")
    query = (
        select(
            *(PREFERENCE.c.id, PREFERENCE.c.weight, PREFERENCE.c.soft, TRACE.c.payload),
            *(chosen.c.output.label("chosen"), rejected.c.output.label("rejected")),
            *(chosen.c.tokens.label("chosen_tokens"), rejected.c.tokens.label("rejected_tokens")),
            rejected.c.truncated.label("rejected_truncated"),
            PREFERENCE.c.verdict_ids,
        )
        .join(TRACE, TRACE.c.id == PREFERENCE.c.trace_id)
        .join(chosen, chosen.c.id == PREFERENCE.c.chosen_id)
        .join(rejected, rejected.c.id == PREFERENCE.c.rejected_id)
    )
    found: dict[int, snapshot.Pair] = {}
    for start in range(0, len(preference_ids), IDS):
        wanted = preference_ids[start : start + IDS]
        rows = connection.execute(query.where(PREFERENCE.c.id.in_(wanted))).all()
        rewards = _rewards(connection, [verdict for row in rows for verdict in row.verdict_ids])
        for row in rows:
            found[row.id] = _pair(row, rewards)
    return [found[preference_id] for preference_id in preference_ids]


def store_snapshot(
    connection: Connection,
    name: str,
    path: str,
    held: Held,
    *,
    note: str,
    now: float,
    left_out: Mapping[str, int] | None = None,
) -> None:
    """Records a snapshot; the same one twice is one row, with what was left out the last time."""
    row = {
        "id": name,
        "path": path,
        "pairs": len(held),
        "preference_ids": list(held.preference_ids),
        **{
            name: None if (ids := getattr(held, name)) is None else list(ids)
            for name in ("candidate_ids", "trace_ids", "label_ids")
        },
        "agent_versions": _held_versions(connection, held),
        "note": note,
        "created_at": now,
    }
    insert_new(connection, SNAPSHOT, [row])
    if left_out is not None:
        connection.execute(update(SNAPSHOT).where(SNAPSHOT.c.id == name).values(left_out=dict(left_out)))


def _versions(connection: Connection, trace_ids: Sequence[int]) -> dict[int, str | None]:
    """The version of the agent of each trace."""
    found: dict[int, str | None] = {}
    for start in range(0, len(trace_ids), IDS):
        query = select(TRACE.c.id, TRACE.c.agent_version)
        rows = connection.execute(query.where(TRACE.c.id.in_(trace_ids[start : start + IDS])))
        found |= {row.id: row.agent_version for row in rows}
    return found


def _held_versions(connection: Connection, held: Held) -> dict[str, int]:
    """How many of what a snapshot holds come from each version of the agent."""
    ids: Sequence[int]
    column: ColumnElement[int]
    if held.trace_ids is not None:
        ids, column, of = held.trace_ids, TRACE.c.id, select(TRACE.c.agent_version)
    elif held.candidate_ids is not None:
        of = select(TRACE.c.agent_version).join(CANDIDATE, CANDIDATE.c.trace_id == TRACE.c.id)
        ids, column = held.candidate_ids, CANDIDATE.c.id
    else:
        ids, column, of = held.preference_ids, PREFERENCE.c.id, select(PREFERENCE.c.agent_version)
    counts: Counter[str] = Counter()
    for start in range(0, len(ids), IDS):
        counts.update(
            each or "" for each in connection.scalars(of.where(column.in_(ids[start : start + IDS])))
        )
    return dict(counts)


def _judged(connection: Connection, trace_ids: Sequence[int]) -> dict[int, list[Judged]]:
    scores: dict[int, list[Score]] = {}
    verdicts = (
        select(*(VERDICT.c[name] for name in ("id", "candidate_id", "judge", "role", "version", "reward")))
        .where(VERDICT.c.trace_id.in_(trace_ids), VERDICT.c.kind == "score")
        .where(VERDICT.c.reward.is_not(None), VERDICT.c.abstention.is_(None))
        .order_by(VERDICT.c.id)
    )
    for row in connection.execute(verdicts):
        score = Score(row.id, row.judge, Role(row.role), row.version, row.reward)
        scores.setdefault(row.candidate_id, []).append(score)
    candidates = (
        select(*(CANDIDATE.c[name] for name in ("id", "trace_id", "text", "truncated", "unshown")))
        .where(CANDIDATE.c.trace_id.in_(trace_ids), CANDIDATE.c.origin != Origin.SOUNDED.value)
        .order_by(CANDIDATE.c.id)
    )
    found: dict[int, list[Judged]] = {trace_id: [] for trace_id in trace_ids}
    for answer in connection.execute(candidates):
        given = tuple(scores.get(answer.id, ()))
        judged = Judged(answer.id, answer.text, given, truncated=answer.truncated, unshown=answer.unshown)
        found[answer.trace_id].append(judged)
    return found


def _rewards(connection: Connection, verdict_ids: Sequence[int]) -> dict[int, float | None]:
    """The rewards of verdicts by their ids."""
    query = select(VERDICT.c.id, VERDICT.c.reward).where(VERDICT.c.id.in_(verdict_ids))
    return {row.id: row.reward for row in connection.execute(query)}


def _pair(row: Any, rewards: dict[int, float | None]) -> snapshot.Pair:
    trace = Trace.model_validate(row.payload)
    known = [rewards.get(verdict) for verdict in row.verdict_ids]
    chosen_reward, rejected_reward = known or (None, None)
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
        chosen_reward=chosen_reward,
        rejected_reward=rejected_reward,
    )


def _tokens(stored: dict[str, Any] | None) -> Tokens | None:
    return None if stored is None else Tokens.model_validate(stored)

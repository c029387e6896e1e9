"""What became of judgements, counted by reason; and those that another configuration may yet make."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from sqlalchemy import Connection, Table, func, inspect, or_, select, update

from daemon.store.inserts import insert_new
from daemon.store.tables import JudgeCallRow, JudgementRow, PreferenceRow, TraceRow, VerdictRow
from policies.judging.judges import NamedJudge
from policies.records import Split
from policies.states import Purpose

JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
CALL = cast(Table, inspect(JudgeCallRow).local_table)
TRACE = cast(Table, inspect(TraceRow).local_table)
PREFERENCE = cast(Table, inspect(PreferenceRow).local_table)

MENDABLE = ("refused", "cut_off", "unreadable")
"""Outcomes of calls that another key, limit or setting changes."""
ONCE = (Purpose.GATE, Purpose.SOUNDING)
"""Purposes that are asked for by somebody who waits, and not again."""
PAGE = 500
_AGAIN = re.compile(r":r[0-9]+\Z")


@dataclass(frozen=True, slots=True)
class EndedJudgements:
    """How judgements of a judge ended: with a verdict, or without one, by reason."""

    judged: int = 0
    abstained: Mapping[str, int] = field(default_factory=dict)


def newest(connection: Connection) -> int:
    """The newest verdict's id, 0 where there is none: `since` counts from there."""
    return int(connection.scalar(select(func.max(VERDICT.c.id))) or 0)


def since(connection: Connection, verdict_id: int, judge: str) -> EndedJudgements:
    """What was decided after that verdict."""
    query = (
        select(VERDICT.c.abstention, func.count())
        .where(VERDICT.c.id > verdict_id, VERDICT.c.judge == judge)
        .group_by(VERDICT.c.abstention)
    )
    counts: dict[str | None, int] = dict(connection.execute(query).all())
    judged = counts.pop(None, 0)
    return EndedJudgements(judged, {reason or "": count for reason, count in counts.items()})


def put_back(connection: Connection, judge: str) -> dict[str, int]:
    """How many judgements wait, by the reason with which they were put back ("": never tried)."""
    query = (
        select(func.coalesce(JUDGEMENT.c.error, ""), func.count())
        .where(JUDGEMENT.c.state == "open", JUDGEMENT.c.judge == judge)
        .group_by(JUDGEMENT.c.error)
    )
    return dict(connection.execute(query).all())


def reopen(connection: Connection, judge: NamedJudge, *, after: int, now: float) -> tuple[int, int | None]:
    """Asks again for a page of judgements that ended without a verdict: those on which calls were refused,
    cut off or not understood, and all of another version of the judge. What was said stays; each is asked for
    once more. Returns how many are new, and the verdict to go on after (None: that was all).

    A gate's comparisons stay as they are: `rlaifd evaluate ADAPTER` opens another attempt. So do the
    soundings of a run, which nobody waits for any more.
    """
    mendable = select(CALL.c.id).where(
        CALL.c.judgement_id == VERDICT.c.judgement_id, CALL.c.outcome.in_(MENDABLE)
    )
    query = (
        select(JUDGEMENT, VERDICT.c.id.label("verdict_id"))
        .join(VERDICT, VERDICT.c.judgement_id == JUDGEMENT.c.id)
        .where(VERDICT.c.id > after, VERDICT.c.judge == judge.name, VERDICT.c.abstention.is_not(None))
        .where(JUDGEMENT.c.purpose.not_in(ONCE))
        .where(or_(VERDICT.c.version != judge.version, mendable.exists()))
        .order_by(VERDICT.c.id)
        .limit(PAGE)
    )
    found = connection.execute(query).all()
    columns = ("judge", "role", "kind", "purpose", "trace_id", "candidate_id", "other_id", "probability")
    rows = [
        {name: getattr(each, name) for name in columns}
        | {"key": f"{_AGAIN.sub('', each.key)}:r{each.id}", "state": "open", "attempts": 0}
        | {"not_before": 0.0, "created_at": now}
        for each in found
    ]
    new = len(insert_new(connection, JUDGEMENT, rows))
    _uncurate(connection, {each.trace_id for each in found} if new else set())
    return new, found[-1].verdict_id if len(found) == PAGE else None


def reopen_failed(connection: Connection, judge: str) -> int:
    """Opens the judgements that were given up because this code failed on them; returns how many."""
    opened = (
        update(JUDGEMENT)
        .where(JUDGEMENT.c.state == "failed", JUDGEMENT.c.judge == judge)
        .where(JUDGEMENT.c.purpose.not_in(ONCE))
        .values(state="open", attempts=0, not_before=0.0, done_at=None)
    )
    return connection.execute(opened).rowcount


def _uncurate(connection: Connection, trace_ids: set[int]) -> None:
    """Has train prompts looked at again that gave no preference: what was missing may come."""
    if trace_ids:
        without = ~select(PREFERENCE.c.id).where(PREFERENCE.c.trace_id == TRACE.c.id).exists()
        again = update(TRACE).where(TRACE.c.id.in_(trace_ids), TRACE.c.split == Split.TRAIN.value, without)
        connection.execute(again.values(curated_at=None))

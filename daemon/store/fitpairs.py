"""Pairs that people labelled and something may be fitted on: those of the train and the calibrate split.

The audit's labels are not read here at all: what is fitted is measured on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, func, inspect, select

from daemon.store import answerpairs
from daemon.store.hints import unindexed
from daemon.store.labels import FITTED
from daemon.store.tables import CandidateRow, LabelRow, PreferenceRow, TraceRow
from policies import snapshot
from policies.alignment import Choice
from policies.records import Origin
from policies.selection import Reason
from policies.votes import Settled, settled

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
LABEL = cast(Table, inspect(LabelRow).local_table)
PREFERENCE = cast(Table, inspect(PreferenceRow).local_table)
IDS = 500
"""Ids a statement."""
MOST = 20_000
"""Newest labels that are read."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Pairs to fit on, newest label first, and how many others were labelled, by why they are none."""

    pairs: tuple[Settled, ...]
    left_out: dict[Reason, int]


def labelled(connection: Connection) -> Fitted:
    """What people settled. Left out are pairs whose better answer was cut off, as its end would be learned,
    those with a placeholder for what is no text, and those with an answer of a sounding.
    """
    query = _labels(LABEL.c.id, LABEL.c.candidate_id, LABEL.c.other_id, LABEL.c.choice)
    choices: dict[tuple[int, int], list[Choice]] = {}
    ids: dict[tuple[int, int], list[int]] = {}
    for row in connection.execute(query.order_by(LABEL.c.id.desc()).limit(MOST)):
        pair = (row.candidate_id, row.other_id)
        choices.setdefault(pair, []).append(row.choice)
        ids.setdefault(pair, []).append(row.id)
    answers = _answers(connection, sorted({one for pair in choices for one in pair}))
    found: list[Settled] = []
    left_out: dict[Reason, int] = {}
    for (a, b), said in choices.items():
        made = _settled(a, b, said, answers)
        if isinstance(made, Reason):
            left_out[made] = left_out.get(made, 0) + 1
        else:
            found.append(replace(made, labels=tuple(sorted(ids[a, b]))))
    return Fitted(tuple(found), left_out)


def written(connection: Connection, found: Sequence[Settled], *, weight: float) -> list[snapshot.Pair]:
    """The pairs as a snapshot holds them, each with this weight."""
    ids = sorted({each.better for each in found} | {each.worse for each in found})
    answers = answerpairs.answers(connection, ids)
    return [
        answerpairs.pair(0, answers[each.better], answers[each.worse]).model_copy(
            update={"source": "people", "soft": each.soft, "weight": weight}
        )
        for each in found
    ]


def preferred(connection: Connection, found: Sequence[Settled]) -> frozenset[int]:
    """The preferences that judges have on the very pairs: people's word replaces theirs."""
    wanted = {frozenset((each.better, each.worse)) for each in found}
    ids = sorted({each.better for each in found} | {each.worse for each in found})
    columns = (PREFERENCE.c.id, PREFERENCE.c.chosen_id, PREFERENCE.c.rejected_id)
    same: set[int] = set()
    traces = sorted(_traces(connection, ids))
    for start in range(0, len(traces), IDS):
        query = select(*columns).where(PREFERENCE.c.trace_id.in_(traces[start : start + IDS]))
        rows = connection.execute(query)
        same |= {row.id for row in rows if frozenset((row.chosen_id, row.rejected_id)) in wanted}
    return frozenset(same)


def since(connection: Connection, at: float | None, *, most: int) -> int:
    """How many labels that may be fitted on were given or changed after `at` (None: ever), at most `most`."""
    query = _labels(LABEL.c.id)
    some = (query if at is None else query.where(LABEL.c.created_at > at)).limit(most).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def newest(connection: Connection) -> tuple[int | None, float | None]:
    """Another value as soon as a label is added or changed."""
    row = connection.execute(select(func.max(LABEL.c.id), func.max(LABEL.c.created_at))).one()
    return row[0], row[1]


def _labels(*columns: Any) -> Select[Any]:
    return (
        select(*columns)
        .join(TRACE, TRACE.c.id == LABEL.c.trace_id)
        .where(unindexed(TRACE.c.split).in_([split.value for split in FITTED]), ~TRACE.c.incomplete)
    )


def _settled(a: int, b: int, said: Sequence[Choice], answers: dict[int, Any]) -> Settled | Reason:
    if Origin.SOUNDED in {answers[a].origin, answers[b].origin}:
        return Reason.SOUNDED
    verdict = settled(said)
    if verdict is None:
        return Reason.UNDECIDED
    better, worse = (a, b) if verdict[0] == "a" else (b, a)
    if answers[better].truncated:
        return Reason.CUT_OFF
    if answers[a].unshown or answers[b].unshown:
        return Reason.SEEN_IN_PART
    return Settled((), better, worse, verdict[1])


def _answers(connection: Connection, ids: Sequence[int]) -> dict[int, Any]:
    query = select(*(CANDIDATE.c[name] for name in ("id", "origin", "truncated", "unshown")))
    return {
        row.id: row
        for start in range(0, len(ids), IDS)
        for row in connection.execute(query.where(CANDIDATE.c.id.in_(ids[start : start + IDS])))
    }


def _traces(connection: Connection, ids: Sequence[int]) -> set[int]:
    query = select(CANDIDATE.c.trace_id)
    return {
        trace
        for start in range(0, len(ids), IDS)
        for trace in connection.scalars(query.where(CANDIDATE.c.id.in_(ids[start : start + IDS])))
    }

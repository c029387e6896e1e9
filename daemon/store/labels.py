"""Labels: the pairs that wait for people, and what people said of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, func, inspect, select

from daemon.store.hints import unindexed
from daemon.store.inserts import insert_of
from daemon.store.tables import CandidateRow, JudgementRow, LabelRow, TraceRow, VerdictRow
from policies.judging.judges import NamedJudge
from policies.records import Split
from policies.states import Purpose

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
LABEL = cast(Table, inspect(LabelRow).local_table)
_L = LABEL.c

PUT_TO_PEOPLE = (Split.AUDIT, Split.CALIBRATE)
"""Splits whose pairs judges compare and people label, the more pressing first: no judge is trusted, and no
reward model released, without audit labels. Those of `calibrate` may be fitted on.
"""
FITTED = (Split.TRAIN, Split.CALIBRATE)
"""Splits whose labels something may be fitted on. Never the audit's: what was fitted is measured on them."""


@dataclass(frozen=True, slots=True)
class LabelPair:
    """Two candidates of a trace that judges compare and people label. `low` < `high`, both candidate ids."""

    trace_id: int
    low: int
    high: int
    probability: float


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two candidates of a trace of which a person preferred one. `low` < `high`, both candidate ids.
    `probability` is that with which the pair was drawn.
    """

    trace_id: int
    low: int
    high: int
    probability: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What a person sees of a pair: the trace as stored and both texts."""

    payload: dict[str, Any]
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Label:
    """A person's choice of a pair: a (the lower id), b or tie."""

    pair: LabelPair
    choice: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of labels."""

    new: int
    changed: int
    unchanged: int


def pairs(connection: Connection) -> list[LabelPair]:
    """Every pair of a prompt of `PUT_TO_PEOPLE` that a judge was asked to compare for the audit, once: in the
    order of the splits, then oldest trace first.
    """
    c = JUDGEMENT.c
    ids = (c.trace_id, c.candidate_id, c.other_id)
    query = (
        select(*ids, TRACE.c.split, func.max(c.probability).label("probability"))
        .join(TRACE, TRACE.c.id == c.trace_id)
        .where(TRACE.c.split.in_([split.value for split in PUT_TO_PEOPLE]))
        .where(unindexed(c.purpose) == Purpose.AUDIT, c.kind == "pair", c.other_id.is_not(None))
        .group_by(*ids, TRACE.c.split)
        .order_by(*ids)
    )
    rows = sorted(connection.execute(query), key=lambda row: PUT_TO_PEOPLE.index(Split(row.split)))
    found: dict[tuple[int, int], LabelPair] = {}
    for row in rows:
        low, high = sorted((row.candidate_id, row.other_id))
        found.setdefault((low, high), LabelPair(row.trace_id, low, high, row.probability))
    return list(found.values())


def shown(connection: Connection, pair: LabelPair) -> Shown:
    """The pair's prompt and texts."""
    payload = connection.execute(select(TRACE.c.payload).where(TRACE.c.id == pair.trace_id)).scalar_one()
    query = select(CANDIDATE.c.id, CANDIDATE.c.text).where(CANDIDATE.c.id.in_((pair.low, pair.high)))
    texts = {row.id: row.text for row in connection.execute(query)}
    return Shown(payload, texts[pair.low], texts[pair.high])


def labelled_by(connection: Connection, reviewer: str) -> dict[tuple[int, int], tuple[str, str | None]]:
    """A reviewer's choices and reasons by pair of ids."""
    query = select(_L.candidate_id, _L.other_id, _L.choice, _L.reason).where(_L.reviewer == reviewer)
    return {(row[0], row[1]): (row[2], row[3]) for row in connection.execute(query)}


def labelled(connection: Connection) -> set[tuple[int, int]]:
    """The pairs that anybody labelled."""
    return {(row[0], row[1]) for row in connection.execute(select(_L.candidate_id, _L.other_id).distinct())}


def reviewers(connection: Connection) -> list[str]:
    """Everybody who labelled, by name."""
    return list(connection.scalars(select(_L.reviewer).distinct().order_by(_L.reviewer)))


def upsert(connection: Connection, labels: Sequence[Label], *, reviewer: str, now: float) -> Imported:
    """Stores one label a reviewer and pair; a later choice replaces an earlier one. A repeated label keeps
    its time, so that it does not count as a fresh one.
    """
    known = labelled_by(connection, reviewer)
    new = changed = 0
    for label in labels:
        before = known.get((label.pair.low, label.pair.high))
        if before == (label.choice, label.reason):
            continue
        new += before is None
        changed += before is not None
        _upsert(connection, label, reviewer=reviewer, now=now)
    return Imported(new, changed, len(labels) - new - changed)


def _upsert(connection: Connection, label: Label, *, reviewer: str, now: float) -> None:
    said = {"choice": label.choice, "reason": label.reason, "created_at": now}
    row = {
        "reviewer": reviewer,
        "trace_id": label.pair.trace_id,
        "candidate_id": label.pair.low,
        "other_id": label.pair.high,
        "probability": label.pair.probability,
        **said,
    }
    statement = insert_of(connection, LABEL).values(row)
    key = (_L.reviewer, _L.candidate_id, _L.other_id)
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=said))


def labelled_pairs(connection: Connection, *, limit: int) -> list[LabelledPair]:
    """Pairs of the audit split that somebody labelled, each once, newest label first, at most `limit`."""
    pair = (_L.trace_id, _L.candidate_id, _L.other_id)
    query = (
        select(*pair, func.max(_L.probability))
        .join(TRACE, TRACE.c.id == _L.trace_id)
        .where(unindexed(TRACE.c.split) == Split.AUDIT.value)
        .group_by(*pair)
        .order_by(func.max(_L.id).desc())
        .limit(limit)
    )
    return [LabelledPair(*row) for row in connection.execute(query)]


def unjudged_answers(
    connection: Connection, judge: NamedJudge, pairs: Sequence[LabelledPair]
) -> list[tuple[int, LabelledPair]]:
    """Candidates, with their pair, that the judge's version has not scored and is not about to."""
    answers = {one: pair for pair in pairs for one in (pair.low, pair.high)}
    known = {one for one, _ in _known(connection, judge, "score", answers)}
    return [(one, pair) for one, pair in answers.items() if one not in known]


def unjudged_pairs(
    connection: Connection, judge: NamedJudge, pairs: Sequence[LabelledPair]
) -> list[LabelledPair]:
    """The pairs that the judge's version has not compared and is not about to."""
    ids = {one for pair in pairs for one in (pair.low, pair.high)}
    known = {tuple(sorted(each)) for each in _known(connection, judge, "pair", ids)}
    return [pair for pair in pairs if (pair.low, pair.high) not in known]


def _known(
    connection: Connection, judge: NamedJudge, kind: str, ids: Collection[int]
) -> list[tuple[int, int]]:
    """Candidate and other of the version's verdicts and of what is in the queue, of comparisons the audit's;
    a score's other is 0.
    """
    v, j = VERDICT.c, JUDGEMENT.c
    judged = select(v.candidate_id, v.other_id).where(
        v.candidate_id.in_(ids), unindexed(v.judge) == judge.name, v.kind == kind, v.version == judge.version
    )
    waiting = select(j.candidate_id, j.other_id).where(
        j.candidate_id.in_(ids),
        unindexed(j.judge) == judge.name,
        unindexed(j.state) == "open",
        j.kind == kind,
    )
    if kind == "pair":
        judged, waiting = judged.where(v.purpose == Purpose.AUDIT), waiting.where(j.purpose == Purpose.AUDIT)
    return [(row[0], row[1] or 0) for row in connection.execute(judged.union(waiting))]

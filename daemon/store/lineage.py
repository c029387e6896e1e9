"""Where an adapter comes from, and what became of a trace: the same rows, read from both ends.

An adapter was made by a run, of a snapshot, which holds preferences, each of which comes from verdicts on two
answers to one trace, or answers by themselves. What people said of the answers stands beside.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, func, inspect, select

from daemon.store.tables import (
    AdapterRow,
    CandidateRow,
    EvaluationRow,
    LabelRow,
    PositionRow,
    PreferenceRow,
    RunRow,
    SnapshotRow,
    TraceRow,
    VerdictRow,
)

ADAPTER = cast(Table, inspect(AdapterRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
EVALUATION = cast(Table, inspect(EvaluationRow).local_table)
LABEL = cast(Table, inspect(LabelRow).local_table)
POSITION = cast(Table, inspect(PositionRow).local_table)
PREFERENCE = cast(Table, inspect(PreferenceRow).local_table)
RUN = cast(Table, inspect(RunRow).local_table)
SNAPSHOT = cast(Table, inspect(SnapshotRow).local_table)
TRACE = cast(Table, inspect(TraceRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)

IDS = 500
"""Ids a statement."""
Row = dict[str, Any]

VERDICT_COLUMNS = (
    *("id", "judgement_id", "judge", "role", "family", "version", "kind", "purpose"),
    *("candidate_id", "other_id", "reward", "choice", "flipped", "abstention"),
)
ANSWER_COLUMNS = ("id", "trace_id", "origin", "adapter", "sample", "truncated")
LABEL_COLUMNS = ("id", "reviewer", "candidate_id", "other_id", "choice", "reason")


def of_adapter(connection: Connection, name: str) -> Row | None:
    """The adapter with its run, its snapshot and every pair or answer of it; None where it is not known.

    A pair has its trace, its two answers, the verdicts it was made from and the labels on its answers. An
    adapter that was not trained here has no run.
    """
    query = select(*_columns(ADAPTER, "name", "base_model", "run_id", "parent", "created_at"))
    found = _first(connection, query.where(ADAPTER.c.name == name))
    if found is None:
        return None
    run = None if found["run_id"] is None else _run(connection, found["run_id"])
    snapshot = None if run is None else _snapshot(connection, run["snapshot_id"])
    ids = [] if snapshot is None else snapshot.pop("preference_ids")
    prompts = None if snapshot is None else snapshot.pop("trace_ids")
    singles = None if snapshot is None else snapshot.pop("candidate_ids")
    return {
        **found,
        "ancestors": _ancestors(connection, found["parent"]),
        "decision": _decision(connection, name),
        "run": run,
        "snapshot": snapshot,
        "pairs": pairs_of(connection, ids),
        "answers": answers_of(connection, singles or ()),
        "prompts": prompts_of(connection, prompts or ()),
    }


def of_trace(connection: Connection, event_id: str, *, sources: AbstractSet[str]) -> list[Row]:
    """Every stored revision of the event, whatever source it is from: its answers, what was judged of them,
    what people said, and the preferences with the snapshots that hold them, and the runs of these.

    `sources` are looked at beside those that records were read from.
    """
    known = sources | set(connection.scalars(select(POSITION.c.source).distinct()))
    names = (
        "id",
        "source",
        "event_id",
        "revision",
        "cluster",
        "split",
        "ts",
        "stored_at",
        "adapter",
        "agent_version",
    )
    query = (
        select(*_columns(TRACE, *names))
        .where(TRACE.c.source.in_(sorted(known)), TRACE.c.event_id == event_id)
        .order_by(TRACE.c.source, TRACE.c.revision)
    )
    return [
        {
            **trace,
            "answers": _answers(connection, trace["id"]),
            "verdicts": _rows(connection, VERDICT, VERDICT_COLUMNS, VERDICT.c.trace_id == trace["id"]),
            "labels": _people(connection, trace["id"]),
            "snapshots": _snapshots_with(connection, SNAPSHOT.c.trace_ids, trace["id"]),
            "preferences": _preferences(connection, trace["id"]),
        }
        for trace in _all(connection, query)
    ]


def _preferences(connection: Connection, trace_id: int) -> list[Row]:
    names = ("id", "chosen_id", "rejected_id", "margin", "verdict_ids", "created_at")
    found = _rows(connection, PREFERENCE, names, PREFERENCE.c.trace_id == trace_id)
    return [
        {**each, "snapshots": _snapshots_with(connection, SNAPSHOT.c.preference_ids, each["id"])}
        for each in found
    ]


def _answers(connection: Connection, trace_id: int) -> list[Row]:
    """With the snapshots that hold an answer by itself, apart from those that hold a preference of it."""
    found = _rows(connection, CANDIDATE, ANSWER_COLUMNS, CANDIDATE.c.trace_id == trace_id)
    return [
        {**each, "snapshots": _snapshots_with(connection, SNAPSHOT.c.candidate_ids, each["id"])}
        for each in found
    ]


def _people(connection: Connection, trace_id: int) -> list[Row]:
    """Labels, with the snapshots that hold a pair by them."""
    found = _rows(connection, LABEL, LABEL_COLUMNS, LABEL.c.trace_id == trace_id)
    return [
        {**each, "snapshots": _snapshots_with(connection, SNAPSHOT.c.label_ids, each["id"])} for each in found
    ]


def _snapshots_with(connection: Connection, ids: ColumnElement[Any], wanted: int) -> list[Row]:
    """The snapshots whose list has the id, oldest first, each with its runs."""
    query = select(*_columns(SNAPSHOT, "id", "pairs", "created_at")).order_by(SNAPSHOT.c.created_at)
    found = _all(connection, query.where(_holds(connection, ids, wanted)))
    runs = select(RUN.c.id).order_by(RUN.c.started_at)
    return [
        {
            **each,
            "runs": [
                _run(connection, run)
                for run in connection.scalars(runs.where(RUN.c.snapshot_id == each["id"])).all()
            ],
        }
        for each in found
    ]


def _holds(connection: Connection, ids: ColumnElement[Any], wanted: int) -> ColumnElement[bool]:
    """Whether a snapshot's list has the id, as the database itself finds it."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import JSONB

        return ids.cast(JSONB).contains([wanted])
    each = func.json_each(ids).table_valued("value")
    return select(each.c.value).where(each.c.value == wanted).exists()


def _run(connection: Connection, run: str) -> Row | None:
    """A run, with the adapter that it made and what the gate last said of that."""
    names = ("id", "snapshot_id", "state", "reason", "recipe", "parent", "adapter", "started_at")
    found = _first(connection, select(*_columns(RUN, *names)).where(RUN.c.id == run))
    if found is None:
        return None
    adapter = found["adapter"]
    return {**found, "decision": None if adapter is None else _decision(connection, adapter)}


def _snapshot(connection: Connection, snapshot_id: str) -> Row | None:
    held = ("preference_ids", "candidate_ids", "trace_ids")
    names = ("id", "path", "pairs", *held, "agent_versions", "left_out", "note", "created_at")
    return _first(connection, select(*_columns(SNAPSHOT, *names)).where(SNAPSHOT.c.id == snapshot_id))


def _ancestors(connection: Connection, parent: str | None) -> list[str]:
    """The adapters that it goes on from, the nearest first."""
    found: list[str] = []
    while parent is not None and parent not in found:
        found.append(parent)
        parent = connection.scalar(select(ADAPTER.c.parent).where(ADAPTER.c.name == parent))
    return found


def _decision(connection: Connection, adapter: str) -> str | None:
    query = select(EVALUATION.c.decision).where(EVALUATION.c.adapter == adapter)
    found: str | None = connection.scalar(query.order_by(EVALUATION.c.id.desc()).limit(1))
    return found


def pairs_of(connection: Connection, preference_ids: Sequence[int]) -> list[Row]:
    """The preferences in the snapshot's order; one that is not stored here has its id alone."""
    found: dict[int, Row] = {}
    for ids in _chunks(preference_ids):
        found |= _some_pairs(connection, ids)
    return [found.get(each, {"preference": each}) for each in preference_ids]


def prompts_of(connection: Connection, trace_ids: Sequence[int]) -> list[Row]:
    """The events whose prompts these are, in the snapshot's order; one that is not stored here has its id
    alone.
    """
    names = ("id", "source", "event_id", "revision", "split", "ts")
    found = _by_id(connection, TRACE, names, trace_ids)
    return [found.get(each, {"id": each}) for each in trace_ids]


def answers_of(connection: Connection, candidate_ids: Sequence[int]) -> list[Row]:
    """The answers in the snapshot's order, each with its trace, the verdicts on it by itself and what people
    said of it; one that is not stored here has its id alone.
    """
    found: dict[int, Row] = {}
    for ids in _chunks(candidate_ids):
        found |= _some_answers(connection, ids)
    return [found.get(each, {"id": each}) for each in candidate_ids]


def _some_answers(connection: Connection, ids: Sequence[int]) -> dict[int, Row]:
    query = (
        select(
            *_columns(CANDIDATE, *ANSWER_COLUMNS),
            *_columns(TRACE, "source", "event_id", "revision", "split", "ts"),
        )
        .join(TRACE, TRACE.c.id == CANDIDATE.c.trace_id)
        .where(CANDIDATE.c.id.in_(ids))
    )
    found = {row["id"]: {**row, "verdicts": [], "labels": []} for row in _all(connection, query)}
    alone = VERDICT.c.candidate_id.in_(ids) & VERDICT.c.other_id.is_(None)
    for verdict in _rows(connection, VERDICT, VERDICT_COLUMNS, alone):
        found[verdict["candidate_id"]]["verdicts"].append(verdict)
    said = LABEL.c.candidate_id.in_(ids) | LABEL.c.other_id.in_(ids)
    for label in _rows(connection, LABEL, LABEL_COLUMNS, said):
        for each in (label["candidate_id"], label["other_id"]):
            if each in found:
                found[each]["labels"].append(label)
    return found


def _some_pairs(connection: Connection, ids: Sequence[int]) -> dict[int, Row]:
    query = (
        select(
            *_columns(PREFERENCE, "id", "chosen_id", "rejected_id", "margin", "soft", "verdict_ids"),
            *_columns(TRACE, "source", "event_id", "revision", "split", "ts"),
            PREFERENCE.c.contributor,
        )
        .join(TRACE, TRACE.c.id == PREFERENCE.c.trace_id)
        .where(PREFERENCE.c.id.in_(ids))
    )
    rows = _all(connection, query)
    answers = _by_id(connection, CANDIDATE, ANSWER_COLUMNS, _both(rows))
    verdicts = _by_id(
        connection, VERDICT, VERDICT_COLUMNS, [each for row in rows for each in row["verdict_ids"]]
    )
    labels = _labels(connection, rows)
    return {
        row["id"]: {
            "preference": row["id"],
            "source": row["source"],
            "trace": row["event_id"],
            "revision": row["revision"],
            "split": row["split"],
            "ts": row["ts"],
            "contributor": row["contributor"],
            "margin": row["margin"],
            "soft": row["soft"],
            "chosen": answers.get(row["chosen_id"]),
            "rejected": answers.get(row["rejected_id"]),
            "verdicts": [verdicts[each] for each in row["verdict_ids"] if each in verdicts],
            "labels": labels.get(tuple(sorted((row["chosen_id"], row["rejected_id"]))), []),
        }
        for row in rows
    }


def _both(rows: Sequence[Row]) -> list[int]:
    return [row[name] for row in rows for name in ("chosen_id", "rejected_id")]


def _labels(connection: Connection, rows: Sequence[Row]) -> dict[tuple[int, ...], list[Row]]:
    """What people said of two answers, by the answers' ids in rising order."""
    found: dict[tuple[int, ...], list[Row]] = {}
    for ids in _chunks(_both(rows)):
        for label in _rows(connection, LABEL, LABEL_COLUMNS, LABEL.c.candidate_id.in_(ids)):
            found.setdefault((label["candidate_id"], label["other_id"]), []).append(label)
    return found


def _by_id(connection: Connection, table: Table, names: Sequence[str], ids: Sequence[int]) -> dict[int, Row]:
    found = (_rows(connection, table, names, table.c.id.in_(some)) for some in _chunks(ids))
    return {row["id"]: row for rows in found for row in rows}


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + IDS] for start in range(0, len(ids), IDS))


def _columns(table: Table, *names: str) -> Iterator[ColumnElement[Any]]:
    return (table.c[name] for name in names)


def _rows(
    connection: Connection, table: Table, names: Sequence[str], where: ColumnElement[bool]
) -> list[Row]:
    return _all(connection, select(*_columns(table, *names)).where(where).order_by(table.c.id))


def _all(connection: Connection, query: Any) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _first(connection: Connection, query: Any) -> Row | None:
    return next(iter(_all(connection, query)), None)

"""Corrections as candidates, and the pair of each with the answer that it corrects."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, inspect, select, update

from daemon.store import joined
from daemon.store.inserts import insert_new
from daemon.store.preferences import contributor
from daemon.store.tables import CandidateRow, PreferenceRow, TraceRow
from policies.clusters import said
from policies.corrections import Corrected, pairing, standing, weight_of
from policies.curation import NoPreference
from policies.feedback import CORRECTING, FeedbackEvent, of_answer
from policies.likeness import sketch_of
from policies.records import Origin, Split, Trace, text_of
from policies.worth import FeedbackRule

TRACE = cast(Table, inspect(TraceRow).local_table)
CANDIDATE = cast(Table, inspect(CandidateRow).local_table)
PREFERENCE = cast(Table, inspect(PreferenceRow).local_table)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer of the train split, its trace's row, and the candidate that it was logged as."""

    row: Any
    trace: Trace
    logged: Any


def settle(connection: Connection, trace_ids: Collection[int], rule: FeedbackRule, now: float) -> int:
    """Makes the corrections of these answers what is said of them: new ones become candidates and pairs, what
    was changed or taken back is withdrawn. Returns how many pairs are new. Only the train split gives any.
    """
    newest = joined.newest_revisions(connection, sorted(trace_ids))
    told = joined.said_of(connection, newest)
    new = 0
    for trace_id in newest:
        said_of_it = told.get(trace_id, ())
        # What was taken back is in the history, too: without any correction there was never one.
        if not any(event.correction for event in said_of_it):
            continue
        answer = _answer(connection, trace_id)
        if answer is not None:
            new += _settle(connection, answer, said_of_it, rule, now)
    return new


def reweigh(connection: Connection, rule: FeedbackRule) -> None:
    """Gives the pairs of corrections that stand the weights that the policy has for their kinds."""
    for kind in sorted(CORRECTING):
        mine = select(CANDIDATE.c.id).where(
            CANDIDATE.c.origin == Origin.CORRECTED.value,
            CANDIDATE.c.batch.startswith(f"{kind.value}:"),
            CANDIDATE.c.withdrawn.is_(False),
        )
        weight = rule.weights[kind]
        connection.execute(
            update(PREFERENCE)
            .where(PREFERENCE.c.chosen_id.in_(mine), PREFERENCE.c.weight != weight)
            .values(weight=weight)
        )


def _answer(connection: Connection, trace_id: int) -> _Answer | None:
    row = connection.execute(select(TRACE).where(TRACE.c.id == trace_id)).one()
    if row.split != Split.TRAIN.value or row.incomplete:
        return None
    mine = (CANDIDATE.c.trace_id == trace_id) & (CANDIDATE.c.origin == Origin.LOGGED.value)
    logged = connection.execute(select(CANDIDATE).where(mine)).first()
    return None if logged is None else _Answer(row, Trace.model_validate(row.payload), logged)


def _settle(
    connection: Connection, answer: _Answer, told: Sequence[FeedbackEvent], rule: FeedbackRule, now: float
) -> int:
    wanted = {each.key: each for each in standing(of_answer(answer.trace, told), answer.trace.output)}
    _withdraw(connection, answer, wanted, rule)
    rows = [_candidate(answer, each, now) for each in wanted.values()]
    insert_new(connection, CANDIDATE, rows)
    mine = (CANDIDATE.c.trace_id == answer.row.id) & (CANDIDATE.c.origin == Origin.CORRECTED.value)
    found = select(CANDIDATE.c.id, CANDIDATE.c.batch).where(mine, CANDIDATE.c.batch.in_(wanted))
    numbers = {row.batch: row.id for row in connection.execute(found)}
    pairs = [_pair(answer, each, numbers[key], rule, now) for key, each in wanted.items()]
    return len(insert_new(connection, PREFERENCE, [pair for pair in pairs if pair is not None]))


def _withdraw(connection: Connection, answer: _Answer, wanted: Collection[str], rule: FeedbackRule) -> None:
    """Withdraws what does not stand, of all revisions of the event, and brings back what stands again."""
    same = (TRACE.c.source == answer.row.source) & (TRACE.c.event_id == answer.row.event_id)
    found = (
        select(CANDIDATE.c.id, CANDIDATE.c.trace_id, CANDIDATE.c.batch, CANDIDATE.c.withdrawn)
        .join(TRACE, TRACE.c.id == CANDIDATE.c.trace_id)
        .where(same, CANDIDATE.c.origin == Origin.CORRECTED.value, CANDIDATE.c.batch != "")
    )
    for row in connection.execute(found).all():
        stands = row.trace_id == answer.row.id and row.batch in wanted
        if stands is not row.withdrawn:
            continue
        weight = weight_of(row.batch, rule) if stands else 0.0
        connection.execute(update(CANDIDATE).where(CANDIDATE.c.id == row.id).values(withdrawn=not stands))
        connection.execute(update(PREFERENCE).where(PREFERENCE.c.chosen_id == row.id).values(weight=weight))


def _candidate(answer: _Answer, corrected: Corrected, now: float) -> dict[str, Any]:
    return {
        "trace_id": answer.row.id,
        "origin": Origin.CORRECTED.value,
        "adapter": "",
        "batch": corrected.key,
        "sample": 0,
        "output": [message.model_dump(mode="json") for message in corrected.output],
        "text": text_of(corrected.output),
        "truncated": False,
        "unshown": False,
        "withdrawn": False,
        "created_at": now,
    }


def _pair(
    answer: _Answer, corrected: Corrected, number: int, rule: FeedbackRule, now: float
) -> dict[str, Any] | None:
    text = text_of(corrected.output)
    differs = pairing(text, answer.logged.text, unshown=answer.logged.unshown)
    if isinstance(differs, NoPreference):
        return None
    turns = [said(message) for message in answer.trace.messages if message.role != "system"]
    return {
        "trace_id": answer.row.id,
        "cluster": answer.row.cluster,
        "contributor": contributor(answer.row),
        "chosen_id": number,
        "rejected_id": answer.logged.id,
        "margin": 0.0,
        "difference": differs,
        "weight": weight_of(corrected.key, rule),
        "soft": 1.0,
        "verdict_ids": [],
        "agent_version": answer.row.agent_version,
        "sketch": " ".join(sketch_of((*turns, text, answer.logged.text))),
        "created_at": now,
    }

"""Rows for the stages' tests: traces, answers, verdicts as a simulated judge gives them, labels, adapters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, func, insert, inspect, select, update

from daemon.store.store import Store
from daemon.store.tables import (
    AdapterRow,
    CandidateRow,
    JudgementRow,
    LabelRow,
    RolloutRow,
    TraceRow,
    VerdictRow,
)
from policies.policy import CurationRule, GateRule, HaltRules, PolicySpec
from policies.records import Message, Role, Split, Trace

T = TypeVar("T")

SPEC = PolicySpec(name="test", family="tiny", base_model="base", gate=GateRule(min_prompts=10))
ROLES = frozenset(Role)


def spec(**changes: Any) -> PolicySpec:
    return SPEC.model_copy(update=changes)


class Within:
    """A store's verbs on one open transaction: many rows cost one commit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, work: Callable[[Connection], T]) -> T:
        return work(self._connection)


Writes = Store | Within


def at_once(store: Store, work: Callable[[Within], None]) -> None:
    """Does the work in one transaction."""
    store.write(lambda c: work(Within(c)))


def table(row: type[Any]) -> Table:
    found = inspect(row).local_table
    assert isinstance(found, Table)
    return found


def rows(store: Store, row: type[Any]) -> list[Any]:
    """Every row of a table, oldest first."""
    made = table(row)
    first = next(iter(made.primary_key.columns))
    return list(store.read(lambda c: c.execute(select(made).order_by(first)).all()))


def count(store: Store, row: type[Any]) -> int:
    return int(store.read(lambda c: c.execute(select(func.count()).select_from(table(row))).scalar_one()))


def put(store: Writes, row: type[Any], **values: Any) -> int:
    made = table(row)
    key = next(iter(made.primary_key.columns))
    found = store.write(lambda c: c.execute(insert(made).values(values).returning(key)).scalar_one())
    return found if isinstance(found, int) else 0


def answer(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


def add_trace(
    store: Writes,
    name: str,
    split: Split,
    *,
    text: str = "logged words",
    planned: bool = True,
    stored_at: float = 0.0,
    **columns: Any,
) -> int:
    """A trace with its logged answer, planned unless told otherwise; its cluster is its name."""
    trace = Trace(
        id=name,
        source="agent",
        ts=0.0,
        messages=(Message(role="user", content=f"question {name}"),),
        output=answer(text),
    )
    values: dict[str, Any] = {"cluster": name, "subject": f"subject-{name}", "session": None, **columns}
    trace_id = put(
        store,
        TraceRow,
        **values,
        source="agent",
        event_id=name,
        revision=0,
        digest=trace.digest,
        split=split.value,
        ts=0.0,
        stored_at=stored_at,
        payload=trace.model_dump(mode="json"),
        planned_at=1.0 if planned else None,
    )
    add_candidate(store, trace_id, text, origin="logged")
    return trace_id


def add_candidate(store: Writes, trace_id: int, text: str, **columns: Any) -> int:
    values: dict[str, Any] = {"origin": "sampled", "adapter": "", "batch": "", "sample": 0, **columns}
    output = [message.model_dump(mode="json") for message in answer(text)]
    return put(store, CandidateRow, **values, trace_id=trace_id, output=output, text=text, created_at=0.0)


def add_verdict(store: Writes, trace_id: int, candidate_id: int, **columns: Any) -> int:
    """A finished judgement with its verdict; a score of the small judge unless told otherwise."""
    return store.write(lambda c: _verdict(c, trace_id, candidate_id, **columns))


def _verdict(connection: Connection, trace_id: int, candidate_id: int, **columns: Any) -> int:
    values: dict[str, Any] = {
        "role": "small",
        "kind": "score",
        "purpose": "curate",
        "version": "v1",
        "other_id": None,
        "evaluation_id": None,
        "created_at": 0.0,
        **columns,
    }
    shared = {
        "role": values["role"],
        "kind": values["kind"],
        "purpose": values["purpose"],
        "trace_id": trace_id,
        "candidate_id": candidate_id,
        "other_id": values["other_id"],
        "evaluation_id": values["evaluation_id"],
        "probability": 1.0,
        "created_at": values["created_at"],
    }
    judgement = table(JudgementRow)
    key = connection.scalar(select(func.count()).select_from(judgement))
    judged = insert(judgement).values(**shared, key=f"test:{key}", state="done", attempts=1, not_before=0.0)
    judgement_id = connection.execute(judged.returning(judgement.c.id)).scalar_one()
    return _give(connection, judgement_id, shared, values)


def _give(connection: Connection, judgement_id: int, shared: dict[str, Any], values: dict[str, Any]) -> int:
    verdict = table(VerdictRow)
    given = insert(verdict).values(
        **shared,
        judgement_id=judgement_id,
        judge=values["role"],
        family="other",
        version=values["version"],
        adapter="",
        value=values.get("reward"),
        reward=values.get("reward"),
        choice=values.get("choice"),
        flipped=values.get("flipped", False),
        scores={},
        critique="",
        abstention=values.get("abstention"),
        cost_usd=0.0,
    )
    return int(connection.execute(given.returning(verdict.c.id)).scalar_one())


@dataclass(frozen=True)
class Asked:
    """An open judgement as the simulated judge sees it."""

    role: str
    kind: str
    purpose: str
    texts: tuple[str, ...]


Opinion = Callable[[Asked], dict[str, Any] | None]
"""Verdict columns for a judgement; None: the judgement fails and gives none."""


def judge(store: Store, opinion: Opinion, *, limit: int | None = None) -> int:
    """Finishes open judgements with what the opinion says of them; answers how many."""
    return store.write(lambda c: _judge(c, opinion, limit))


def _judge(connection: Connection, opinion: Opinion, limit: int | None) -> int:
    judgement, candidate = table(JudgementRow), table(CandidateRow)
    query = select(judgement).where(judgement.c.state == "open").order_by(judgement.c.id).limit(limit)
    found = connection.execute(query).all()
    for each in found:
        ids = [one for one in (each.candidate_id, each.other_id) if one is not None]
        texts = {
            row.id: row.text for row in connection.execute(select(candidate).where(candidate.c.id.in_(ids)))
        }
        said = opinion(Asked(each.role, each.kind, each.purpose, tuple(texts[one] for one in ids)))
        done = update(judgement).where(judgement.c.id == each.id)
        connection.execute(done.values(state="done" if said is not None else "failed"))
        if said is not None:
            names = ("role", "kind", "purpose", "trace_id", "candidate_id", "other_id", "evaluation_id")
            shared = {name: getattr(each, name) for name in names}
            shared |= {"probability": each.probability, "created_at": said.get("created_at", 0.0)}
            _give(connection, each.id, shared, {"version": "v1", "role": each.role, **said})
    return len(found)


def by_length(asked: Asked) -> dict[str, Any]:
    """A judge that likes words: a score of one point a word up to ten, the longer of two."""
    if asked.kind == "score":
        return {"reward": float(min(10, len(asked.texts[0].split())))}
    a, b = (len(text.split()) for text in asked.texts)
    return {"choice": "tie" if a == b else "a" if a > b else "b"}


def add_label(
    store: Writes, trace_id: int, a: int, b: int, choice: str, *, reviewer: str = "ann", at: float = 0.0
) -> int:
    return put(
        store,
        LabelRow,
        reviewer=reviewer,
        trace_id=trace_id,
        candidate_id=a,
        other_id=b,
        choice=choice,
        probability=1.0,
        created_at=at,
    )


def add_labelled(
    store: Writes,
    name: str,
    *,
    agree: bool,
    at: float = 0.0,
    split: Split = Split.AUDIT,
    roles: Sequence[Role] = tuple(Role),
    version: str = "v1",
) -> None:
    """An audit prompt with two answers, every judge preferring the first, and a label that agrees or not."""
    trace_id = add_trace(store, name, split)
    a = add_candidate(store, trace_id, "good words here", batch="b", sample=0)
    b = add_candidate(store, trace_id, "bad", batch="b", sample=1)

    def _work(connection: Connection) -> None:
        for role in roles:
            if role is Role.SMALL:
                _verdict(connection, trace_id, a, reward=8.0, version=version)
                _verdict(connection, trace_id, b, reward=3.0, version=version)
            else:
                pair = {"role": role.value, "kind": "pair", "purpose": "audit", "version": version}
                _verdict(connection, trace_id, a, **pair, other_id=b, choice="a")

    store.write(_work)
    add_label(store, trace_id, a, b, "a" if agree else "b", at=at)


def add_adapter(store: Store, name: str, *, created_at: float = 0.0, quarantined: str | None = None) -> None:
    put(
        store,
        AdapterRow,
        name=name,
        digest=f"digest-{name}",
        path=f"/adapters/{name}",
        base_model="base",
        manifest={},
        created_at=created_at,
        quarantined_at=None if quarantined is None else 1.0,
        quarantine_reason=quarantined,
    )


def put_in_force(store: Store, name: str, epoch: int) -> None:
    put(store, RolloutRow, epoch=epoch, stable=name, actor="test", reason="test", created_at=0.0)


def lenient(window: int = 200) -> PolicySpec:
    """Few labels and prompts suffice: what is tested is how evidence is gathered, not how much."""
    return spec(
        gate=GateRule(min_prompts=10, max_prompts=60, min_labels=20),
        halts=HaltRules(alignment_min_labels=20, alignment_window=window, reward_window=20),
        curation=CurationRule(min_margin=2.0),
    )

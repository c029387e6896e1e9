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
from policies.records import Feedback, Message, Role, Sampled, Split, Trace

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


def sampled(text: str, **facts: Any) -> Sampled:
    """A sampled answer of one message."""
    return Sampled(messages=answer(text), **facts)


def answer(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


def put_many(to: Writes, row: type[Any], values: Sequence[dict[str, Any]]) -> list[int]:
    """Inserts rows in one statement; returns their ids in order."""
    made = table(row)

    def _work(connection: Connection) -> list[int]:
        statement = insert(made).returning(made.c.id, sort_by_parameter_order=True)
        return list(connection.scalars(statement, list(values)))

    return to.write(_work)


def add_traces(
    to: Writes,
    names: Sequence[str],
    split: Split,
    *,
    text: str = "logged words",
    question: str = "",
    planned: bool = True,
    stored_at: float = 0.0,
    feedback: Sequence[Feedback] = (),
    **columns: Any,
) -> list[int]:
    """Traces with their logged answers, planned unless told otherwise; the cluster is the name."""
    rows = []
    for name in names:
        trace = Trace(
            id=name,
            source="agent",
            ts=0.0,
            messages=(Message(role="user", content=question or f"question {name}"),),
            output=answer(text),
            feedback=tuple(feedback),
        )
        defaults = {"cluster": name, "subject": f"subject-{name}", "session": None, **columns}
        own = {"event_id": name, "digest": trace.digest, "payload": trace.model_dump(mode="json")}
        fixed = {"source": "agent", "revision": 0, "split": split.value, "ts": 0.0}
        times = {"stored_at": stored_at, "planned_at": 1.0 if planned else None}
        rows.append({**defaults, **own, **fixed, **times})
    ids = put_many(to, TraceRow, rows)
    put_many(to, CandidateRow, [_answer_row(trace_id, text, origin="logged") for trace_id in ids])
    return ids


def add_trace(to: Writes, name: str, split: Split, **columns: Any) -> int:
    """One trace; see `add_traces`."""
    return add_traces(to, [name], split, **columns)[0]


def _answer_row(trace_id: int, text: str, **columns: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"origin": "sampled", "adapter": "", "batch": "", "sample": 0, **columns}
    output = [message.model_dump(mode="json") for message in answer(text)]
    return {**values, "trace_id": trace_id, "output": output, "text": text, "created_at": 0.0}


def add_candidate(to: Writes, trace_id: int, text: str, **columns: Any) -> int:
    """A sampled answer."""
    return put_many(to, CandidateRow, [_answer_row(trace_id, text, **columns)])[0]


def add_verdict(to: Writes, trace_id: int, candidate_id: int, **columns: Any) -> int:
    """A finished judgement with its verdict; a score of the small judge unless told otherwise."""
    return add_verdicts(to, [{"trace_id": trace_id, "candidate_id": candidate_id, **columns}])[0]


def add_verdicts(to: Writes, verdicts: Sequence[dict[str, Any]]) -> list[int]:
    """Finished judgements with their verdicts."""
    return to.write(lambda c: _verdicts(c, verdicts))


def _verdicts(connection: Connection, verdicts: Sequence[dict[str, Any]]) -> list[int]:
    defaults: dict[str, Any] = {
        "role": "small",
        "kind": "score",
        "purpose": "curate",
        "other_id": None,
        "evaluation_id": None,
        "probability": 1.0,
        "created_at": 0.0,
    }
    given = [{**defaults, **each} for each in verdicts]
    known = connection.scalar(select(func.count()).select_from(table(JudgementRow))) or 0
    judged = [
        {
            **{name: each[name] for name in SHARED},
            "judge": each.get("judge", each["role"]),
            "key": f"test:{known + number}",
            "state": "done",
            "attempts": 1,
            "not_before": 0.0,
        }
        for number, each in enumerate(given)
    ]
    ids = put_many(Within(connection), JudgementRow, judged)
    rows = [_verdict_row(each, judgement_id) for each, judgement_id in zip(given, ids, strict=True)]
    return put_many(Within(connection), VerdictRow, rows)


SHARED = (
    *("role", "kind", "purpose", "trace_id", "candidate_id", "other_id", "evaluation_id"),
    *("probability", "created_at"),
)
"""Columns that a judgement and its verdict have in common."""


def _verdict_row(said: dict[str, Any], judgement_id: int) -> dict[str, Any]:
    return {
        **{name: said[name] for name in SHARED},
        "judgement_id": judgement_id,
        "judge": said.get("judge", said["role"]),
        "family": "other",
        "version": said.get("version", "v1"),
        "adapter": "",
        "value": said.get("reward"),
        "reward": said.get("reward"),
        "choice": said.get("choice"),
        "flipped": said.get("flipped", False),
        "scores": {},
        "critique": "",
        "abstention": said.get("abstention"),
        "cost_usd": 0.0,
    }


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
    """Finishes open judgements with what the opinion says of them; returns how many."""
    return store.write(lambda c: _judge(c, opinion, limit))


def _judge(connection: Connection, opinion: Opinion, limit: int | None) -> int:
    judgement, candidate = table(JudgementRow), table(CandidateRow)
    query = select(judgement).where(judgement.c.state == "open").order_by(judgement.c.id).limit(limit)
    found = connection.execute(query).all()
    ids = {one for each in found for one in (each.candidate_id, each.other_id) if one is not None}
    wanted = select(candidate.c.id, candidate.c.text).where(candidate.c.id.in_(ids))
    texts = {row.id: row.text for row in connection.execute(wanted)}
    ended: dict[str, list[int]] = {"done": [], "failed": []}
    verdicts = []
    for each in found:
        shown = tuple(texts[one] for one in (each.candidate_id, each.other_id) if one is not None)
        said = opinion(Asked(each.role, each.kind, each.purpose, shown))
        ended["failed" if said is None else "done"].append(each.id)
        if said is not None:
            shared = {name: getattr(each, name) for name in ("judge", *SHARED)}
            verdicts.append(_verdict_row({**shared, "created_at": 0.0, **said}, each.id))
    for state, done in ended.items():
        connection.execute(update(judgement).where(judgement.c.id.in_(done)).values(state=state))
    if verdicts:
        put_many(Within(connection), VerdictRow, verdicts)
    return len(found)


def by_length(asked: Asked) -> dict[str, Any]:
    """A judge that likes words: a score of one point a word up to ten, the longer of two."""
    if asked.kind == "score":
        return {"reward": float(min(10, len(asked.texts[0].split())))}
    a, b = (len(text.split()) for text in asked.texts)
    return {"choice": "tie" if a == b else "a" if a > b else "b"}


def add_label(
    to: Writes, trace_id: int, a: int, b: int, choice: str, *, reviewer: str = "ann", at: float = 0.0
) -> int:
    """A person's choice."""
    return put_many(to, LabelRow, [_label_row(trace_id, a, b, choice, reviewer=reviewer, at=at)])[0]


def _label_row(
    trace_id: int, a: int, b: int, choice: str, *, reviewer: str = "ann", at: float = 0.0
) -> dict[str, Any]:
    pair = {"trace_id": trace_id, "candidate_id": a, "other_id": b, "choice": choice}
    return {**pair, "reviewer": reviewer, "probability": 1.0, "created_at": at}


def add_labelled(
    to: Writes,
    agreeing: dict[str, bool],
    *,
    at: float = 0.0,
    split: Split = Split.AUDIT,
    version: str = "v1",
) -> None:
    """Prompts with two answers, every judge preferring the first, and labels that agree or not, by name."""
    traces = add_traces(to, list(agreeing), split)
    sampled = [
        _answer_row(trace_id, text, batch="b", sample=sample)
        for trace_id in traces
        for sample, text in enumerate(("good words here", "bad"))
    ]
    ids = put_many(to, CandidateRow, sampled)
    verdicts: list[dict[str, Any]] = []
    labels = []
    for trace_id, a, b, agree in zip(traces, ids[::2], ids[1::2], agreeing.values(), strict=True):
        of = {"trace_id": trace_id, "version": version}
        pair = {**of, "candidate_id": a, "other_id": b, "kind": "pair", "purpose": "audit", "choice": "a"}
        verdicts += [{**of, "candidate_id": a, "reward": 8.0}, {**of, "candidate_id": b, "reward": 3.0}]
        verdicts += [{**pair, "role": "large"}, {**pair, "role": "gate"}]
        labels.append(_label_row(trace_id, a, b, "a" if agree else "b", at=at))
    add_verdicts(to, verdicts)
    put_many(to, LabelRow, labels)


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

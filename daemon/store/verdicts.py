"""Verdicts: one per judgement, written when it ends, and the views that the rules are fed with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, inspect, select

from daemon.store.inserts import insert_new
from daemon.store.tables import VerdictRow
from policies.records import Role

VERDICT = cast(Table, inspect(VerdictRow).local_table)
_C = VERDICT.c


@dataclass(frozen=True, slots=True)
class ScoreView:
    """A candidate's score by one judge. An abstention has `value` and `reward` None."""

    verdict_id: int
    candidate_id: int
    trace_id: int
    adapter: str
    version: str
    value: float | None
    reward: float | None
    confidence: float | None
    abstention: str | None
    probability: float
    created_at: float


@dataclass(frozen=True, slots=True)
class PairView:
    """A comparison by one judge. `choice` is a, b (the other) or tie; None: flipped, split or abstained."""

    verdict_id: int
    trace_id: int
    candidate_id: int
    other_id: int
    evaluation_id: int | None
    version: str
    choice: str | None
    flipped: bool
    confidence: float | None
    abstention: str | None
    probability: float
    created_at: float


def insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Stores verdicts (columns of VerdictRow); a judgement that has one keeps it. Answers how many are new.

    Call it in the transaction that finished their judgements.
    """
    return len(insert_new(connection, VERDICT, rows))


def scores(connection: Connection, role: Role, candidate_ids: Sequence[int]) -> dict[int, ScoreView]:
    """The role's newest decided score of each of these candidates; else its newest abstention."""
    found: dict[int, ScoreView] = {}
    for start in range(0, len(candidate_ids), 5000):
        chunk = candidate_ids[start : start + 5000]
        query = _of(ScoreView).where(_C.role == role.value, _C.kind == "score", _C.candidate_id.in_(chunk))
        for row in connection.execute(query.order_by(_C.id)):
            view = ScoreView(**row._mapping)  # noqa: SLF001 - a row's public mapping, oddly named
            before = found.get(view.candidate_id)
            if before is None or view.abstention is None or before.abstention is not None:
                found[view.candidate_id] = view
    return found


def pairs(connection: Connection, role: Role, evaluation_id: int | None, purpose: str) -> list[PairView]:
    """The role's comparisons of that purpose and evaluation (None: of all), oldest first."""
    query = _of(PairView).where(_C.role == role.value, _C.kind == "pair", _C.purpose == purpose)
    if evaluation_id is not None:
        query = query.where(_C.evaluation_id == evaluation_id)
    return [PairView(**row._mapping) for row in connection.execute(query.order_by(_C.id))]  # noqa: SLF001


def recent_rewards(connection: Connection, role: Role, limit: int) -> list[float]:
    """The role's last rewards of logged traffic, newest first."""
    query = select(_C.reward).where(
        _C.role == role.value,
        _C.kind == "score",
        _C.purpose.in_(("traffic", "audit")),
        _C.reward.is_not(None),
    )
    return [float(reward) for reward in connection.scalars(query.order_by(_C.id.desc()).limit(limit))]


def traffic_rewards(connection: Connection, role: Role) -> dict[str, list[float]]:
    """The rewards of logged traffic, oldest first, by the adapter that answered ('': the base model)."""
    query = select(_C.adapter, _C.reward).where(
        _C.role == role.value, _C.kind == "score", _C.purpose == "traffic", _C.reward.is_not(None)
    )
    found: dict[str, list[float]] = {}
    for adapter, reward in connection.execute(query.order_by(_C.id)):
        found.setdefault(adapter, []).append(float(reward))
    return found


def _of(view: type[ScoreView] | type[PairView]) -> Select[Any]:
    """The columns of a view."""
    names = [name for name in view.__dataclass_fields__ if name != "verdict_id"]
    return select(_C.id.label("verdict_id"), *(_C[name] for name in names))

"""Reward models, as rows: published, and held until labels release or reject them."""

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, Table, inspect, select, update

from daemon.store.inserts import insert_new
from daemon.store.tables import RewardModelRow
from policies.release import Kind, Release

REWARD_MODEL = cast(Table, inspect(RewardModelRow).local_table)


@dataclass(frozen=True, slots=True)
class StoredReward:
    """A published reward model with the last decision on it. `missing`: about how many labels are."""

    name: str
    digest: str
    base_model: str
    run_id: str
    manifest: dict[str, Any]
    state: Kind
    reasons: tuple[str, ...]
    missing: int | None
    labels: int
    created_at: float
    decided_at: float | None


def record(connection: Connection, *, name: str, digest: str, manifest: dict[str, Any], now: float) -> bool:
    """Stores a published reward model, held; False if it was there already."""
    row = {
        "name": name,
        "digest": digest,
        "base_model": manifest["base_model"],
        "run_id": manifest["run"],
        "manifest": manifest,
        "state": "hold",
        "reasons": ["no decision yet"],
        "labels": 0,
        "created_at": now,
    }
    return bool(insert_new(connection, REWARD_MODEL, [row]))


def decide(connection: Connection, name: str, release: Release, *, now: float) -> bool:
    """Notes a decision on a held reward model; False where it is decided for good already."""
    done = connection.execute(
        update(REWARD_MODEL)
        .where(REWARD_MODEL.c.name == name, REWARD_MODEL.c.state == "hold")
        .values(
            state=release.kind,
            reasons=list(release.reasons),
            missing=release.missing,
            labels=release.labels,
            decided_at=now,
        )
    )
    return done.rowcount == 1


def newest(connection: Connection) -> list[StoredReward]:
    """All reward models, newest first."""
    query = select(REWARD_MODEL).order_by(REWARD_MODEL.c.created_at.desc(), REWARD_MODEL.c.name)
    return [_stored(row) for row in connection.execute(query)]


def released(connection: Connection) -> StoredReward | None:
    """The newest that training may learn from."""
    return next((each for each in newest(connection) if each.state == "release"), None)


def _stored(row: Row[Any]) -> StoredReward:
    return StoredReward(
        row.name, row.digest, row.base_model, row.run_id, row.manifest, row.state, tuple(row.reasons),
        row.missing, row.labels, row.created_at, row.decided_at,
    )  # fmt: skip

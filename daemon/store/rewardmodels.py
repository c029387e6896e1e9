"""Reward models, as rows: published, and held until labels release or reject them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, Table, inspect, select, update

from daemon.store.inserts import insert_new
from daemon.store.tables import RewardModelRow
from policies.recipes import PpoRecipe, Recipe
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


@dataclass(frozen=True, slots=True)
class Awaited:
    """That PPO waits for a reward model to be released. `name` is the newest that a decision holds (None:
    none does); `missing` is about how many labels it lacks, None where no number is known.
    """

    reason: str
    name: str | None = None
    missing: int | None = None


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


def asks(recipe: Recipe) -> bool:
    """Whether the recipe learns from a released reward model."""
    return isinstance(recipe, PpoRecipe) and recipe.verdict_weight < 1


def awaited(connection: Connection, recipes: Sequence[Recipe]) -> Awaited | None:
    """What those of the recipes wait for that ask for a released reward model; None where there is one, or
    none asks.
    """
    if not any(map(asks, recipes)) or released(connection) is not None:
        return None
    held = next((each for each in newest(connection) if each.state == "hold"), None)
    if held is None:
        return Awaited(
            "PPO waits for a released reward model, and none is held: `rlaifd train --method reward`"
        )
    said = f"PPO waits for reward model {held.name}, which is held: {'; '.join(held.reasons)}"
    return Awaited(said) if held.decided_at is None else Awaited(said, held.name, held.missing)


def _stored(row: Row[Any]) -> StoredReward:
    return StoredReward(
        row.name, row.digest, row.base_model, row.run_id, row.manifest, row.state, tuple(row.reasons),
        row.missing, row.labels, row.created_at, row.decided_at,
    )  # fmt: skip

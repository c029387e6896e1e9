"""What was trained, what the gate said of it, and what is served."""

from typing import Any

from sqlalchemy import Column, Float, String, text
from sqlmodel import Field, SQLModel

from daemon.store.tables.jsoncolumn import JSON


class AdapterRow(SQLModel, table=True):
    """A published adapter. The directory never changes; quarantine is recorded here."""

    __tablename__ = "adapter"
    name: str = Field(primary_key=True)
    digest: str = Field(unique=True)
    """Digest of its manifest."""
    path: str
    base_model: str
    run_id: str | None = Field(default=None, foreign_key="run.id")
    parent: str | None = None
    manifest: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: float
    quarantined_at: float | None = None
    quarantine_reason: str | None = None


class RewardModelRow(SQLModel, table=True):
    """A published reward model, and whether training may learn from it. The directory never changes."""

    __tablename__ = "reward_model"
    name: str = Field(primary_key=True)
    digest: str = Field(unique=True)
    """Digest of its manifest."""
    base_model: str
    run_id: str = Field(foreign_key="run.id")
    manifest: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    state: str = "hold"
    """hold | release | reject"""
    reasons: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    missing: int | None = None
    """About how many more labels would decide a hold; None: no number is known."""
    labels: int = 0
    """Labels that the decision rests on."""
    created_at: float
    decided_at: float | None = None


class EvaluationRow(SQLModel, table=True):
    """One gate attempt: a candidate adapter against the stable one, its evidence and the decision."""

    __tablename__ = "evaluation"
    id: int | None = Field(default=None, primary_key=True)
    adapter: str = Field(foreign_key="adapter.name", index=True)
    stable: str | None = None
    agent_version: str | None = None
    """The version of the agent whose prompts were answered; None: not sampled yet, or not known."""
    state: str = "open"
    """open | judging | decided"""
    epoch: int = 0
    evidence: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    decision: str | None = None
    """promote | hold | reject"""
    reasons: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    created_at: float
    decided_at: float | None = None


class RolloutRow(SQLModel, table=True):
    """One change of the assignment (`policies.rollout.Assignment`). The last row is the one in force."""

    __tablename__ = "rollout"
    epoch: int = Field(primary_key=True)
    stable: str | None = None
    canary: str | None = None
    share: float = Field(
        default=0.0, sa_column=Column(Float, nullable=False, default=0.0, server_default=text("0"))
    )
    """The canary's share of the traffic."""
    previous: str | None = None
    """The stable adapter before."""
    actor: str
    reason: str
    wish: str = Field(
        default="", sa_column=Column(String, nullable=False, default="", server_default=text("''"))
    )
    """Digest of the rollout file that it brought into force; '' where no file did."""
    created_at: float

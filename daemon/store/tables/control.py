"""What stops and what leads: halts, the lease, the ledger, and marks of commits."""

from typing import Any

from sqlalchemy import Column, Integer, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from daemon.store.tables.jsoncolumn import JSON


class HaltRow(SQLModel, table=True):
    """A latched stop. Active until `resumed_at` is set, by a person."""

    __tablename__ = "halt"
    __table_args__ = (UniqueConstraint("scope", "fingerprint", "starts_at"),)
    id: int | None = Field(default=None, primary_key=True)
    scope: str = Field(index=True)
    reason: str
    source: str
    """guard | alert | operator | rollback"""
    actor: str
    fingerprint: str
    """Alertmanager's fingerprint, else unique: what makes a repeated alert one halt."""
    starts_at: str = ""
    epoch: int = Field(
        default=0, sa_column=Column(Integer, nullable=False, default=0, server_default=text("0"))
    )
    """The epoch that was in force when it was latched."""
    created_at: float
    cleared_at: float | None = None
    """When the alert's condition went away. It resumes nothing."""
    resumed_at: float | None = None
    resumed_by: str | None = None
    resume_reason: str | None = None
    resumed_on: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    """What evidence there was when it was resumed: a mark by kind, as `daemon.store.marks` gives them."""


class LeaseRow(SQLModel, table=True):
    """Who leads, with the fencing epoch that every effect outside the store re-checks."""

    __tablename__ = "lease"
    name: str = Field(primary_key=True)
    owner: str
    epoch: int
    expires_at: float


class LedgerRow(SQLModel, table=True):
    """The hash chain of state changes."""

    __tablename__ = "ledger"
    seq: int | None = Field(default=None, primary_key=True)
    at: float
    actor: str
    action: str
    subject: str
    reason: str
    detail: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    prev: str
    hash: str = Field(unique=True)


class CommitMarkRow(SQLModel, table=True):
    """The last write of each writing thread on PostgreSQL: whether a COMMIT without an answer happened."""

    __tablename__ = "commit_mark"
    slot: str = Field(primary_key=True)
    token: str
    at: float

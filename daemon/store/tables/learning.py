"""What people said, what is learned from, and the runs that did."""

from typing import Any

from sqlalchemy import Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from daemon.store.tables.jsoncolumn import JSON


class LabelRow(SQLModel, table=True):
    """A person's judgement of two answers. `candidate_id` < `other_id`; one per reviewer and pair."""

    __tablename__ = "label"
    __table_args__ = (UniqueConstraint("reviewer", "candidate_id", "other_id"),)
    id: int | None = Field(default=None, primary_key=True)
    reviewer: str
    trace_id: int = Field(foreign_key="trace.id", index=True)
    candidate_id: int = Field(foreign_key="candidate.id")
    other_id: int = Field(foreign_key="candidate.id")
    choice: str
    """a | b | tie, in the order of the row"""
    reason: str | None = None
    probability: float = 1.0
    created_at: float


class PreferenceRow(SQLModel, table=True):
    """One pair to learn from, and every verdict it came from."""

    __tablename__ = "preference"
    __table_args__ = (UniqueConstraint("chosen_id", "rejected_id"),)
    id: int | None = Field(default=None, primary_key=True)
    trace_id: int = Field(foreign_key="trace.id", index=True)
    cluster: str
    contributor: str
    """Who is counted for the cap on one source: subject, else session, else the event itself."""
    chosen_id: int
    rejected_id: int
    margin: float
    difference: float
    weight: float = 1.0
    soft: float = 1.0
    """Estimated probability that chosen is the better one."""
    verdict_ids: list[int] = Field(sa_column=Column(JSON, nullable=False))
    agent_version: str | None = None
    """That of its trace."""
    sketch: str | None = None
    """Numbers of which pairs that read nearly alike share one; None: it is older than they are."""
    created_at: float = Field(index=True)


class SnapshotRow(SQLModel, table=True):
    """The frozen preferences that a run saw. `id` is the digest of the file at `path`."""

    __tablename__ = "snapshot"
    id: str = Field(primary_key=True)
    path: str
    pairs: int
    preference_ids: list[int] = Field(sa_column=Column(JSON, nullable=False))
    left_out: dict[str, int] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    """Preferences that are not in it, by why."""
    candidate_ids: list[int] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    """The answers that it holds by themselves; None: it holds something else."""
    trace_ids: list[int] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    """The events whose prompts it holds; None: it holds something else."""
    label_ids: list[int] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    """People's labels that made pairs of it; None: none did."""
    agent_versions: dict[str, int] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    """How many of what it holds come from each version of the agent ('' where it is not known)."""
    note: str = ""
    created_at: float = Field(index=True)


class RunRow(SQLModel, table=True):
    """One training run."""

    __tablename__ = "run"
    id: str = Field(primary_key=True)
    snapshot_id: str = Field(foreign_key="snapshot.id")
    recipe: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    state: str
    """running | done | unchanged | failed | halted | stopped"""
    pid: int | None = None
    step: int = 0
    reason: str = ""
    parent: str | None = None
    """The adapter training started from, None for the base model."""
    adapter: str | None = None
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    started_at: float
    finished_at: float | None = None

"""Answers, what judges are asked of them, and what they gave."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Text, UniqueConstraint, false, text
from sqlmodel import Field, SQLModel

from daemon.store.tables.jsoncolumn import JSON


class CandidateRow(SQLModel, table=True):
    """An answer to a trace's prompt. `batch` tells repeated samplings apart ('' for the logged answer)."""

    __tablename__ = "candidate"
    __table_args__ = (UniqueConstraint("trace_id", "origin", "adapter", "batch", "sample"),)
    id: int | None = Field(default=None, primary_key=True)
    trace_id: int = Field(foreign_key="trace.id", index=True)
    origin: str
    adapter: str = ""
    """The adapter that produced it; '' for the base model."""
    batch: str = Field(default="", index=True)
    sample: int = 0
    output: list[dict[str, Any]] = Field(sa_column=Column(JSON, nullable=False))
    text: str = Field(sa_column=Column(Text, nullable=False))
    truncated: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, default=False, server_default=false())
    )
    """It was cut off by a limit of length."""
    unshown: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, default=False, server_default=false())
    )
    """A part of it is no text, and a placeholder stands for it: nothing may learn that."""
    withdrawn: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, default=False, server_default=false())
    )
    """It is a correction that its author has changed or taken back: nothing may learn it."""
    tokens: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    """A sampled answer's tokens, as `Tokens.model_dump(mode="json")`; None where they are not known."""
    created_at: float


class JudgementRow(SQLModel, table=True):
    """One judgement to be made: a score of a candidate, or a comparison of two.

    Open rows are the queue. A claim writes owner, token and expiry; the commit checks the token.
    """

    __tablename__ = "judgement"
    __table_args__ = (
        UniqueConstraint("key"),
        Index("ix_judgement_queue", "state", "judge", "not_before", "id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    key: str
    """The natural key: judge, purpose, candidates."""
    judge: str = Field(sa_column=Column(String, nullable=False, server_default=text("''")))
    """The name of the judge in the configuration."""
    role: str
    kind: str
    """score | pair"""
    purpose: str
    """traffic | curate | audit | gate | sounding"""
    trace_id: int = Field(foreign_key="trace.id", index=True)
    candidate_id: int = Field(foreign_key="candidate.id", index=True)
    other_id: int | None = Field(default=None, foreign_key="candidate.id")
    evaluation_id: int | None = Field(default=None, index=True)
    probability: float = 1.0
    """With which probability this was chosen to be judged."""
    state: str = "open"
    """open | done | failed"""
    owner: str | None = None
    token: str | None = None
    expires_at: float | None = None
    attempts: int = 0
    not_before: float = 0.0
    error: str | None = None
    created_at: float
    done_at: float | None = None


class JudgeCallRow(SQLModel, table=True):
    """One call to a judge, whole. `reuse_key` (version, prompt digest, sample) is set on usable answers only:
    a stored result is not paid for again.
    """

    __tablename__ = "judge_call"
    id: int | None = Field(default=None, primary_key=True)
    judgement_id: int = Field(foreign_key="judgement.id", index=True)
    judge: str
    version: str
    prompt_digest: str
    order: str
    """'' for a score, AB or BA for a comparison."""
    sample: int
    repair: bool = False
    reuse_key: str | None = Field(default=None, unique=True)
    outcome: str
    """ok | unparseable | cut_off | unreadable | timeout | http_error | rate_limited | refused"""
    request: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    response: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    latency_s: float = 0.0
    created_at: float


class VerdictRow(SQLModel, table=True):
    """What one judgement concluded, or why it abstained. One per judgement."""

    __tablename__ = "verdict"
    __table_args__ = (Index("ix_verdict_newest", "judge", "kind", "created_at"),)
    id: int | None = Field(default=None, primary_key=True)
    judgement_id: int = Field(foreign_key="judgement.id", unique=True)
    judge: str
    role: str
    family: str
    version: str
    kind: str
    purpose: str
    trace_id: int = Field(foreign_key="trace.id", index=True)
    candidate_id: int = Field(index=True)
    other_id: int | None = None
    evaluation_id: int | None = Field(default=None, index=True)
    adapter: str = ""
    """The adapter that produced the judged candidate."""
    value: float | None = None
    """Expected score, 0-10."""
    reward: float | None = None
    """The value after the ceiling."""
    choice: str | None = None
    """a | b | tie for a comparison whose orders agree; None where they do not."""
    flipped: bool = False
    confidence: float | None = None
    scores: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    critique: str = Field(default="", sa_column=Column(Text, nullable=False))
    abstention: str | None = None
    probability: float = 1.0
    cost_usd: float = 0.0
    created_at: float


class SpendRow(SQLModel, table=True):
    """Money of one judge on one UTC day: reserved before calls, settled after them."""

    __tablename__ = "spend"
    day: str = Field(primary_key=True)
    judge: str = Field(primary_key=True)
    reserved_usd: float = 0.0
    settled_usd: float = 0.0
    calls: int = 0


class ReservationRow(SQLModel, table=True):
    """Money set aside for calls under way. One that nobody settled by its end was a killed process's."""

    __tablename__ = "reservation"
    __table_args__ = (Index("ix_reservation_expiry", "judge", "expires_at"),)
    id: str = Field(primary_key=True)
    day: str
    judge: str
    usd: float
    calls: int
    expires_at: float


class TallyRow(SQLModel, table=True):
    """How much there is of a table that grows, kept by triggers in the transactions that change it.

    A count is the sum over its slots: on PostgreSQL a transaction adds to its backend's slot, so that writers
    do not wait for one another.
    """

    __tablename__ = "tally"
    subject: str = Field(primary_key=True)
    """The table counted."""
    judge: str = Field(primary_key=True)
    """Who is asked for a judgement, or gave a verdict; else ''."""
    state: str = Field(primary_key=True)
    """A judgement's state, a verdict's version, else ''."""
    slot: int = Field(primary_key=True)
    total: int = Field(sa_column=Column(BigInteger, nullable=False))
    abstained: int = Field(sa_column=Column(BigInteger, nullable=False))
    rewarded: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Verdicts with a reward."""
    reward_sum: float
    first_at: float | None = None
    """When the first of these verdicts was given."""

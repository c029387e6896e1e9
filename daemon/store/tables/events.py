"""What sources gave."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlmodel import Field, SQLModel

from daemon.store.tables.jsoncolumn import JSON, JSON_OR_NULL


class TraceRow(SQLModel, table=True):
    """A stored trace. The same event with other content is a further revision."""

    __tablename__ = "trace"
    __table_args__ = (
        UniqueConstraint("source", "event_id", "digest"),
        UniqueConstraint("source", "event_id", "revision"),
        Index("ix_trace_sampling", "split", "sampled_at"),
        Index("ix_trace_curation", "split", "curated_at", "sampled_at"),
    )
    id: int | None = Field(default=None, primary_key=True)
    source: str
    event_id: str
    revision: int = 0
    digest: str
    cluster: str = Field(index=True)
    split: str
    ts: float = Field(index=True)
    stored_at: float
    model: str | None = None
    adapter: str | None = None
    session: str | None = None
    subject: str | None = Field(default=None, index=True)
    payload: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """The whole trace, as `Trace.model_dump(mode="json")`."""
    planned_at: float | None = Field(default=None, index=True)
    """When the judge stage decided what to judge of it; None: not looked at yet."""
    sampled_at: float | None = None
    """When candidates were sampled for its prompt; None: not yet, or its split is not sampled."""
    curated_at: float | None = None
    """When it was decided whether it gives a preference; None: not yet, or its split gives none."""
    trial: int | None = None
    """Size of the batch in which it was last given to the policy without an answer; None: never, or answered.
    0: it was alone twice.
    """
    refused: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """Why its prompt was given to the policy and has no answers; None: it has, or it was not given."""
    agent_version: str | None = None
    """Which version of the agent answered (`policies.agentversion`); None: older than that is told, or the
    source's versions go by name and it has none.
    """
    incomplete: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, default=False, server_default=false())
    )
    """What led to the answer is not all in the log: it is in no training and no gate."""
    kept_with: float = Field(
        default=1.0, sa_column=Column(Float, nullable=False, default=1.0, server_default=text("1"))
    )
    """With which probability it was kept where its source is sampled; below 1 it stands for others, too."""


class AgentVersionRow(SQLModel, table=True):
    """A version of a source's agent, as `policies.agentversion.Version` has it."""

    __tablename__ = "agent_version"
    __table_args__ = (UniqueConstraint("source", "name"),)
    id: int | None = Field(default=None, primary_key=True)
    source: str
    name: str
    tools: str
    template: list[str] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    traces: int = 0
    last: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, default=0))
    first_at: float
    last_at: float


class AgentSourceRow(SQLModel, table=True):
    """A source that had more versions of its agent than can be: until a trace its tools alone tell them."""

    __tablename__ = "agent_source"
    source: str = Field(primary_key=True)
    fallen_until: int = Field(sa_column=Column(BigInteger, nullable=False))
    fallen_at: float


class DeadLetterRow(SQLModel, table=True):
    """Bytes that are not a trace, with the reason. Short retention, for administrators only."""

    __tablename__ = "dead_letter"
    __table_args__ = (UniqueConstraint("source", "topic", "partition", "offset", "index"),)
    id: int | None = Field(default=None, primary_key=True)
    source: str
    topic: str
    partition: int
    offset: int = Field(sa_column=Column(BigInteger, nullable=False))
    index: int
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    reason: str
    stored_at: float


class PositionRow(SQLModel, table=True):
    """How far a partition is in the store, with its counts. `next_offset` only rises."""

    __tablename__ = "position"
    source: str = Field(primary_key=True)
    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    next_offset: int = Field(sa_column=Column(BigInteger, nullable=False))
    records: int = 0
    stored: int = 0
    duplicates: int = 0
    revisions: int = 0
    dead_letters: int = 0
    skipped: int = Field(default=0, sa_column=Column(Integer, nullable=False, default=0, server_default="0"))
    feedback: int = Field(default=0, sa_column=Column(Integer, nullable=False, default=0, server_default="0"))
    spans: int = Field(default=0, sa_column=Column(Integer, nullable=False, default=0, server_default="0"))
    updated_at: float


class FeedbackRow(SQLModel, table=True):
    """What was said of an answer in an event of its own, with its history: of one thing, name and author the
    last in time counts.
    """

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("source", "event_id", "digest"),
        Index("ix_feedback_target", "about", "target"),
        Index("ix_feedback_due", "due_at"),
        Index("ix_feedback_joined", "joined_at"),
        Index("ix_feedback_answer", "answer_id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    source: str
    event_id: str
    digest: str
    about: str
    """event | span | trace | session"""
    target: str
    ts: float
    """When it was said; of one that was delivered again without a time of its own, the last delivery."""
    payload: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    """The whole event, as `FeedbackEvent.model_dump(mode="json")`."""
    stored_at: float
    kind: str = Field(
        default="other", sa_column=Column(String, nullable=False, server_default=text("'other'"))
    )
    """As `policies.feedback.FeedbackKind` has it."""
    answer_id: int | None = None
    """The trace whose answer it is about; None: there is none yet, or it is about a session."""
    due_at: float | None = None
    """When its answer is to be looked for (again); None: there is nothing more to look for."""
    joined_at: float | None = None
    """When its answer was found."""


class SpanRow(SQLModel, table=True):
    """A part of a trace that came by itself. It is open until it is joined, and kept for a while after: a
    part that comes late is joined with it anew. That of a model's call stays, as the name of its answer.
    """

    __tablename__ = "span"
    __table_args__ = (
        UniqueConstraint("source", "trace_id", "span_id", "part"),
        Index("ix_span_open", "source", "joined_at", "trace_id"),
        Index("ix_span_event", "event_id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    source: str
    trace_id: str
    span_id: str
    part: str = Field(default="span", sa_column=Column(String, nullable=False, server_default="span"))
    """What it is of its span: the span itself, or something that was logged of it."""
    event_id: str | None = None
    """The event that it becomes; None: it is no call of a model, or its content is not here yet."""
    digest: str
    ends_trace: bool
    payload: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON_OR_NULL, nullable=True))
    """The whole span, as `Span.model_dump(mode="json")`; None: it is too old to be joined anew."""
    stored_at: float
    joined_at: float | None = None
    refused: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """Why what it is joined to could not be stored."""


class SourceStopRow(SQLModel, table=True):
    """Where reading a source stopped because no decoder knows its records, and what was decided about it."""

    __tablename__ = "source_stop"
    source: str = Field(primary_key=True)
    line: str = Field(sa_column=Column(Text, nullable=False))
    stopped_at: float
    accepted_at: float | None = None
    """When a person said to store them as dead letters; None: nobody did."""
    accepted_by: str | None = None
    passed_at: float | None = None
    """When a record that a decoder knows came again; None: not yet."""


class SourceLossRow(SQLModel, table=True):
    """A partition whose log begins beyond where the store stands, and what was decided about the gap.

    The offsets from `stood` on and before `begins` were never read and are gone.
    """

    __tablename__ = "source_loss"
    source: str = Field(primary_key=True)
    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    stood: int = Field(sa_column=Column(BigInteger, nullable=False))
    begins: int = Field(sa_column=Column(BigInteger, nullable=False))
    line: str = Field(sa_column=Column(Text, nullable=False))
    found_at: float
    accepted_at: float | None = None
    """When a person said to go on without them; None: nobody did."""
    accepted_by: str | None = None
    passed_at: float | None = None
    """When the position was set beyond them; None: not yet."""

"""The tables. Times are seconds since the epoch (UTC); digests are hex SHA-256; money is US dollars.

Natural keys carry the idempotence: every write that may be repeated after a kill conflicts on one of them.
"""

from typing import Any

from sqlalchemy import JSON as _JSON
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel


class Json(TypeDecorator[Any]):
    """JSON: `jsonb` on PostgreSQL, whose dialect is loaded where one is used."""

    impl = _JSON
    cache_ok = True

    def __init__(self, *, none_as_null: bool = False) -> None:
        super().__init__(none_as_null=none_as_null)
        self.none_as_null = none_as_null

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "postgresql":
            return super().load_dialect_impl(dialect)
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB(none_as_null=self.none_as_null))

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> Any:
        return self.impl_instance.coerce_compared_value(op, value)


JSON = Json()
_JSON_OR_NULL = Json(none_as_null=True)


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
        UniqueConstraint("source", "trace_id", "span_id"),
        Index("ix_span_open", "source", "joined_at", "trace_id"),
        Index("ix_span_event", "event_id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    source: str
    trace_id: str
    span_id: str
    event_id: str | None = None
    """The event that it becomes; None: it is no call of a model."""
    digest: str
    ends_trace: bool
    payload: dict[str, Any] | None = Field(default=None, sa_column=Column(_JSON_OR_NULL, nullable=True))
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


class CommitMarkRow(SQLModel, table=True):
    """The last write of each writing thread on PostgreSQL: whether a COMMIT without an answer happened."""

    __tablename__ = "commit_mark"
    slot: str = Field(primary_key=True)
    token: str
    at: float

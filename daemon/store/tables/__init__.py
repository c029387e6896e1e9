"""The tables. Times are seconds since the epoch (UTC); digests are hex SHA-256; money is US dollars.

Natural keys carry the idempotence: every write that may be repeated after a kill conflicts on one of them.
"""

from daemon.store.tables.control import CommitMarkRow, HaltRow, LeaseRow, LedgerRow
from daemon.store.tables.events import (
    AgentSourceRow,
    AgentVersionRow,
    DeadLetterRow,
    FeedbackRow,
    PositionRow,
    SourceLossRow,
    SourceStopRow,
    SpanRow,
    TraceRow,
)
from daemon.store.tables.judging import (
    CandidateRow,
    JudgeCallRow,
    JudgementRow,
    ReservationRow,
    SpendRow,
    TallyRow,
    VerdictRow,
)
from daemon.store.tables.learning import LabelRow, PreferenceRow, RunRow, SnapshotRow
from daemon.store.tables.serving import AdapterRow, EvaluationRow, RewardModelRow, RolloutRow

__all__ = [
    "AdapterRow",
    "AgentSourceRow",
    "AgentVersionRow",
    "CandidateRow",
    "CommitMarkRow",
    "DeadLetterRow",
    "EvaluationRow",
    "FeedbackRow",
    "HaltRow",
    "JudgeCallRow",
    "JudgementRow",
    "LabelRow",
    "LeaseRow",
    "LedgerRow",
    "PositionRow",
    "PreferenceRow",
    "ReservationRow",
    "RewardModelRow",
    "RolloutRow",
    "RunRow",
    "SnapshotRow",
    "SourceLossRow",
    "SourceStopRow",
    "SpanRow",
    "SpendRow",
    "TallyRow",
    "TraceRow",
    "VerdictRow",
]

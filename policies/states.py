"""The words that rows, metrics and rules share: each said here once.

A metric makes one series for every member: what can happen is shown before it does, and a member that is
added is shown at once. What belongs to one decision is said beside it, as in `policies.gate.decision` and
`policies.rollout`.
"""

from enum import StrEnum


class RecordOutcome(StrEnum):
    """What became of an event of a source."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    REVISION = "revision"
    DEAD_LETTER = "dead_letter"
    SKIPPED = "skipped"
    FEEDBACK = "feedback"
    SPAN = "span"


class JoinOutcome(StrEnum):
    """What became of a call of a model whose parts were joined."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    REVISION = "revision"
    STEP = "step"
    """A later call of the same loop of tools holds it."""
    NO_CONTENT = "no_content"
    """What was asked and answered never came."""


class Purpose(StrEnum):
    """What a judgement is for."""

    TRAFFIC = "traffic"
    CURATE = "curate"
    AUDIT = "audit"
    GATE = "gate"
    SOUNDING = "sounding"


class JudgementState(StrEnum):
    """Where a judgement stands."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


class CallOutcome(StrEnum):
    """What became of a call to a judge."""

    OK = "ok"
    UNPARSEABLE = "unparseable"
    CUT_OFF = "cut_off"
    UNREADABLE = "unreadable"
    TIMEOUT = "timeout"
    HTTP_ERROR = "http_error"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    REUSED = "reused"
    """No call was made: a stored answer served. Rows of calls do not have it."""


class AnswerEnding(StrEnum):
    """Whether a limit of length cut an answer off."""

    WHOLE = "whole"
    CUT = "cut"


class PromptOutcome(StrEnum):
    """What became of a prompt that was given to the policy."""

    ANSWERED = "answered"
    REFUSED = "refused"
    SET_ASIDE = "set_aside"


class SoundingState(StrEnum):
    """Of a run's soundings: put to the large judge, judged by it, and not judged when the run ended."""

    ASKED = "asked"
    HEARD = "heard"
    UNHEARD = "unheard"


class HaltSource(StrEnum):
    """Who latched a halt."""

    GUARD = "guard"
    ALERT = "alert"
    OPERATOR = "operator"
    ROLLBACK = "rollback"


class AlertResult(StrEnum):
    """What became of an alert that Alertmanager sent."""

    HALTED = "halted"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    HEARTBEAT = "heartbeat"
    IGNORED = "ignored"
    UNAUTHORIZED = "unauthorized"
    MALFORMED = "malformed"
    UNAVAILABLE = "unavailable"

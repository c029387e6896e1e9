"""What a decoder finds in a record: events, reasons to skip what is none, or what is wrong with it."""

from dataclasses import dataclass
from enum import StrEnum

from connectors.errors import DecodeError
from policies.feedback import FeedbackEvent
from policies.records import Trace
from policies.spans import Span


class SkipReason(StrEnum):
    """Why a recognised event holds no answer of the agent, or one that is not kept."""

    TOMBSTONE = "tombstone"
    ERROR = "error"
    EMPTY = "empty"
    THOUGHT = "thought"
    WITHHELD = "withheld"
    NO_MODEL_CALL = "no_model_call"
    NO_CONTENT = "no_content"
    SAMPLED_OUT = "sampled_out"


_WORDS = {
    SkipReason.TOMBSTONE: "an empty value (a tombstone)",
    SkipReason.ERROR: "the response is an error, not an answer",
    SkipReason.EMPTY: "no answer: neither text, call nor refusal",
    SkipReason.THOUGHT: "no answer: nothing but a thought",
    SkipReason.WITHHELD: "no answer: it was withheld by a filter",
    SkipReason.NO_MODEL_CALL: "a span that is no call of a model",
    SkipReason.NO_CONTENT: "a call without its content: another part has it, or it is not captured",
    SkipReason.SAMPLED_OUT: "not among the share that its source keeps",
}


@dataclass(frozen=True, slots=True)
class Skipped:
    """A recognised event without an answer: counted by its reason, neither a trace nor a dead letter."""

    reason: SkipReason

    def __str__(self) -> str:
        return _WORDS[self.reason]


Event = Trace | FeedbackEvent | Span
Found = Event | Skipped | DecodeError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event, and which decoder or format was asked."""

    decoder: str | None
    result: Found

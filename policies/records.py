"""The nouns every room shares: messages, traces, candidates, and what a judgement concluded.

All are frozen; all are data. Identity and digests are computed here so that every room computes them alike.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from policies.encoded import Encoded, encoded


class Frozen(BaseModel):
    """An immutable value. Unknown keys are refused: they are typos until shown otherwise.

    It is hashable, also where a field holds free JSON (a tool's arguments or definition, an event's tags):
    equal values have equal hashes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __hash__(self) -> int:
        return hash((type(self), *(_hashable(getattr(self, name)) for name in type(self).model_fields)))


def _hashable(value: Any) -> Any:
    """The same value without dictionaries, lists and sets; equal ones stay equal."""
    if isinstance(value, dict):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_hashable(item) for item in value)
    return frozenset(value) if isinstance(value, set) else value


class ToolCall(Frozen):
    """One call the agent made. `arguments` is the decoded object, whatever the log's format carried."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    id: str | None = None


class Message(Frozen):
    """One turn, in the shape of OpenAI's chat messages with tool arguments as objects."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    reasoning: str = ""
    """What the model thought before it answered. It is no part of the answer: `content` is."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def unanswered(self) -> bool:
        """Whether it is the assistant's thought alone, neither text nor call: its answer never came."""
        return self.role == "assistant" and bool(self.reasoning) and not (self.content or self.tool_calls)


class Tokens(Frozen):
    """An answer's tokens as they were sampled, with the token that ended it, unless it was cut.

    They mean something only under the rendering they were sampled with: `rendering` is the digest of
    tokenizer and chat template.
    """

    ids: tuple[int, ...]
    rendering: str


class Sampled(Frozen):
    """One sampled answer: the messages that follow the prompt, and what the sampler knows beyond them."""

    messages: tuple[Message, ...] = Field(min_length=1)
    truncated: bool = False
    """It was cut off by a limit of length: what is there is not the whole answer."""
    tokens: Tokens | None = None
    """None where the sampler shows no tokens."""

    @property
    def cut(self) -> bool:
        """Whether it is not the whole answer: cut off, or a thought after which none came."""
        return self.truncated or self.messages[-1].unanswered


class Feedback(Frozen):
    """What a user said of an answer in the log. It may train; it never counts as a label."""

    name: str
    score: float | None = Field(default=None, allow_inf_nan=False)
    label: str | None = None
    comment: str | None = None


class TokenUsage(Frozen):
    """Tokens of one call. `input_tokens` are all of the prompt's, those from and to a cache included, and
    `output_tokens` all that was generated, thoughts included, whichever way the provider counts.
    """

    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    cache_read_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)


class Trace(Frozen):
    """One answer of the agent with all that led to it.

    `id` is the event's own identity (response id, else trace and span id, else a digest of the payload);
    together with `source` it is unique. `ts` is seconds since the epoch, UTC.
    """

    id: str = Field(min_length=1, max_length=512)
    source: str
    ts: float = Field(allow_inf_nan=False)
    messages: tuple[Message, ...] = Field(min_length=1)
    output: tuple[Message, ...] = Field(min_length=1)
    reference: str | None = None
    model: str | None = None
    adapter: str | None = None
    agent_version: str | None = None
    """The agent's own name of its version, where the log gives one."""
    session: str | None = None
    subject: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    feedback: tuple[Feedback, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    truncated: bool = False
    """The answer was cut off by a limit of length."""
    unshown: bool = False
    """A part of the answer is no text (an image, a sound): a placeholder stands for it, which nothing may
    learn.
    """
    incomplete: bool = False
    """What led to the answer is not all in the log: it is judged, and in no training."""
    usage: TokenUsage | None = None
    """What the call used, of which this answer may be one of several; None: the log does not say."""

    @cached_property
    def encoded(self) -> Encoded:
        """The trace as JSON. It and what is made of it are worked out once: it never changes."""
        return encoded(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: the same id with another digest is a revision.

        The time is left out: where an event carries none it is the transport's, and a repeated delivery
        of the same content is a duplicate, whenever it comes. So is the usage, which is no content.
        """
        return hashlib.sha256(self.encoded.content).hexdigest()

    @cached_property
    def cluster(self) -> str:
        """The cluster of its prompt (`policies.clusters`)."""
        from policies.clusters import cluster_of  # imports the nouns of this file

        return cluster_of(self.messages)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, which works out anew what it is."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy


class Origin(StrEnum):
    """Where a candidate came from."""

    LOGGED = "logged"
    SAMPLED = "sampled"
    REVISED = "revised"
    CORRECTED = "corrected"
    SOUNDED = "sounded"
    """By a policy under training, for the judge alone: nothing is learned from it."""


class Role(StrEnum):
    """What a judge is for: `small` scores the traffic, `large` audits samples, `gate` compares adapters."""

    SMALL = "small"
    LARGE = "large"
    GATE = "gate"


class Split(StrEnum):
    """What a prompt cluster may be used for. A cluster is in exactly one, for ever."""

    TRAIN = "train"
    CALIBRATE = "calibrate"
    AUDIT = "audit"
    GATE = "gate"


class Scope(StrEnum):
    """What a halt stops."""

    JUDGING = "judging"
    TRAINING = "training"
    PROMOTION = "promotion"


class Halt(Frozen):
    """A stop that a rule asks for: which scope, why, and which rule."""

    scope: Scope
    rule: str
    reason: str


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8: equal values give equal bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value)).hexdigest()


def text_of(output: tuple[Message, ...]) -> str:
    """The answer as people read it: what the assistant said, its tool calls and their results in brackets.

    What it thought is no part of it.
    """
    parts: list[str] = []
    for message, answered in zip(output, calls_answered(output), strict=True):
        if message.role == "tool":
            parts.append(f"[result{_of(message, answered)}: {message.content}]")
            continue
        if message.role == "assistant" and message.content:
            parts.append(message.content)
        parts.extend(call_text(call) for call in message.tool_calls)
    return "\n".join(parts)


def reasoning_of(output: Sequence[Message]) -> str:
    """What the assistant thought on the way to its answer."""
    return "\n".join(message.reasoning for message in output if message.reasoning)


def call_text(call: ToolCall) -> str:
    """A tool call as people read it."""
    return f"[{call.name} {canonical(call.arguments).decode()}]"


@dataclass(frozen=True, slots=True)
class Answered:
    """The call that a tool's result answers. `parallel`: it was one of several in its message."""

    call: ToolCall
    parallel: bool


def calls_answered(messages: Sequence[Message]) -> list[Answered | None]:
    """Of each message the call that it is the result of; None: of none, or the messages do not say."""
    known: dict[str | None, Answered] = {}
    found: list[Answered | None] = []
    for message in messages:
        parallel = len(message.tool_calls) > 1
        known |= {call.id: Answered(call, parallel) for call in message.tool_calls if call.id}
        found.append(known.get(message.tool_call_id) if message.role == "tool" else None)
    return found


def _of(result: Message, answered: Answered | None) -> str:
    if answered is not None and answered.parallel:
        return f" of {call_text(answered.call)[1:-1]}"
    name = result.name or (answered.call.name if answered else "")
    return f" of {name}" if name else ""

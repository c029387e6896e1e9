"""The contracts of the outside systems. Each docstring is what the contract suites in tests/contracts test.

Every Protocol has a shipped fake in `memory.py` and at least one real implementation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from connectors.events import Found
from policies.records import Message, Sampled
from policies.rollout import Assignment


@dataclass(frozen=True, slots=True)
class Partition:
    """An ordered stream within a source: a Kafka partition, or one log file."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """Bytes as they were consumed. `offset` is this record's; `next_offset` is where to go on after it.

    `timestamp` is seconds since the epoch (the broker's or the file's), or None. `principal` is who the
    transport authenticated as the sender, or None; `content_type` is what it says of the bytes, or None.
    `fault` says why the source could not hand over the whole value; `value` is then only its head, and the
    record can but be dead-lettered. `lost` counts the offsets right before this record that were never read
    and that the source no longer has.
    """

    partition: Partition
    offset: int
    next_offset: int
    value: bytes | None
    timestamp: float | None = None
    principal: str | None = None
    fault: str | None = None
    lost: int = 0
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source reads: of how many partitions (files, for a directory) it is the reader, and when it last
    looked for records and all was well, in seconds since the epoch; None: not yet.
    """

    partitions: int
    well_at: float | None


Resume = Callable[[Sequence[Partition]], Mapping[Partition, int]]
"""Returns the next offset to read for those partitions the store knows; the others start at the earliest."""


class Source(Protocol):
    """An ordered, replayable log of records.

    * `start(resume)` begins reading. Whenever partitions are assigned, at the start or later, reading goes
      to the offsets that `resume` answers: the store's, not the source's own idea of what was committed.
    * `receive(timeout_s, limit)` answers at most `limit` records in offset order per partition, [] when none
      came in time. It raises TransientError (call again) and FatalError (stop). A source that is told not
      to pass over what it has lost raises OffsetsLostError, until `resume` answers positions beyond it.
    * `commit(positions)` tells the source, for its lag tools only, that everything before those offsets is in
      the store. It never raises for a lost connection or a partition that has moved away.
    * Back-pressure: what was received and not yet committed is bounded (records and bytes); at the bound the
      source stops fetching and never drops.
    * `lag()` answers records (or bytes, for files) between the store and the end; {} if unknown.
    * `reading()` answers what it reads, and when all was well last.
    * `close()` stops within seconds, blocks until stopped, and can be called twice.
    """

    name: str

    def start(self, resume: Resume) -> None: ...

    def receive(self, timeout_s: float, limit: int = 500) -> list[Record]: ...

    def commit(self, positions: Mapping[Partition, int]) -> None: ...

    def lag(self) -> Mapping[Partition, int]: ...

    def reading(self) -> Reading: ...

    def close(self) -> None: ...


class Decoder(Protocol):
    """Bytes to events. Whoever parses the bytes is a decoder; one record may hold many events.

    `takes(record, content_type)` says whether the bytes are of this kind (cheap, never raises). The content
    type is what the transport says of them, or None; it may be wrong.
    `decode(record, content_type, source, timestamp)` answers its events: each a trace, feedback, a span, a
    reason to skip it, or what is wrong with it. It raises DecodeError where all of it is wrong. The same
    bytes give the same events, at any time.
    """

    name: str

    def takes(self, record: bytes, content_type: str | None) -> bool: ...

    def decode(
        self, record: bytes, content_type: str | None, *, source: str, timestamp: float | None
    ) -> Sequence[Found]: ...


class Format(Protocol):
    """What events look like in JSON. All formats share one decoder, which parses a record once.

    `matches(payload)` says whether parsed JSON looks like this format (cheap, never raises);
    `decode(payload, source, timestamp)` is that of a `Decoder`, of one event's parsed JSON.
    """

    name: str

    def matches(self, payload: Any) -> bool: ...

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> Sequence[Found]: ...


@dataclass(frozen=True, slots=True)
class Usage:
    """Billable tokens of one call."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """A generated token with the alternatives the judge weighed there: text to log-probability (nats)."""

    token: str
    alternatives: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """What a judge is asked: a constant system text first (providers cache it), then the case.

    `schema` is a JSON schema that the answer must fit where the provider can enforce one; the answer is
    parsed strictly by us all the same. `sample` numbers repeated asks of the same text. `temperature` None
    leaves it to the provider.
    """

    system: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = 0.0
    logprobs: bool = False
    sample: int = 0
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """What came back. `model` is the one the response names; `request` and `response` are stored whole."""

    text: str
    model: str
    finish_reason: str
    usage: Usage
    latency_s: float
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    tokens: tuple[TokenChoice, ...] = field(default=())


class Judge(Protocol):
    """A model that is asked for verdicts.

    `ask` makes one call under one overall deadline and never retries by itself: retries are the caller's, in
    one layer. It raises TransientError (timeout, 5xx, connection, an outage that the body tells),
    RateLimitedError (429/529), UnreadableError (served, and no answer in it), LearntError (the next call is
    made as the refusal wants), PoisonError (what is asked may not be said), FatalError (key, credit, model,
    a setting: every call gets it), and DoubtfulError for a refusal in other words. What came with an error is
    in its `received`, keys masked. It never returns a made-up answer. `close()` releases its connections.
    """

    name: str
    family: str
    model: str

    async def ask(self, request: JudgeRequest) -> JudgeReply: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Served:
    """What a target serves now, and when that was seen. The epoch is that of the last switch, as far as the
    target knows it.
    """

    assignment: Assignment
    checked_at: float

    @property
    def adapter(self) -> str | None:
        """The stable adapter; None: the base model."""
        return self.assignment.stable


class ServingTarget(Protocol):
    """Where adapters are served.

    `serve(assignment, directories)` makes the target serve exactly that and returns when it does;
    `directories` has the files of each adapter that the assignment names, by the adapter's name. It is
    idempotent, and refuses an epoch lower than one it has seen, and an adapter without a directory, with
    FatalError. At every instant, also across a kill, the target names one complete adapter. `served()` asks
    the target itself. Both raise TransientError when it cannot be reached. `name` is the user's, and unique.
    """

    @property
    def name(self) -> str: ...

    def serve(self, assignment: Assignment, directories: Mapping[str, Path]) -> None: ...

    def served(self) -> Served: ...


PLAIN_QUESTION = (Message(role="user", content="Hello. What can you do for me?"),)
"""What a policy is asked to tell whether it answers at all. If it does, a prompt that it failed on is at
fault.
"""


@dataclass(frozen=True, slots=True)
class Samples:
    """What a sampler answered: `answers[p]` are those to prompt `p`, in prompt order.

    A prompt that is refused for what it is has none, and its reason, one line, is in `refused` by its index.
    """

    answers: Sequence[Sequence[Sampled]]
    refused: Mapping[int, str] = field(default_factory=dict)


class Sampler(Protocol):
    """Samples answers from a policy.

    `sample(prompts, count, tools)` returns `count` answers to each prompt; none to one that is refused for
    what it is, so that one costs the others nothing. `tools` are the tool definitions of each prompt, or
    empty: none for any. Raises TransientError where it may go better later, and FatalError where it refuses
    every prompt and a plain question as well: then it is not the prompts.
    """

    async def sample(
        self,
        prompts: Sequence[tuple[Message, ...]],
        count: int,
        *,
        tools: Sequence[tuple[Mapping[str, Any], ...]] = (),
    ) -> Samples: ...

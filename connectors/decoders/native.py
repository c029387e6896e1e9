"""rlaifd's own JSON, one object an event.

`messages` and `output` are required; `id`, `ts`, `reference`, `model`, `adapter`, `agent_version`, `session`,
`source`, `subject`, `tools`, `feedback`, `tags`, `truncated`, `unshown`, `incomplete` and `usage` are
understood; any other key is refused, because it is a typo until shown otherwise. `truncated` says that the
answer was cut off by a limit of length, `unshown` that a part of it is no text; both are also seen from the
output. An output in which the agent says nothing is skipped. Feedback with a `kind`, a `correction` or a `by`
becomes an event beside the trace. The payload's `source` becomes a tag: the trace's source is the one of the
configuration, since a field that anybody can write must not decide whose event this is.
"""

from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from connectors.decoders.chat import answer_of, cut_off, first_problem, hides, messages_of, silence
from connectors.decoders.saying import parted, said_of
from connectors.decoders.tools import definitions, tied
from connectors.errors import DecodeError
from connectors.events import Found, Skipped, SkipReason
from policies.records import Message, Trace, digest

KEYS = frozenset(Trace.model_fields)
LATEST = 1e11
"""Seconds; above it a time is in milliseconds."""


class Native:
    """The decoder of rlaifd's own JSON."""

    name = "native"

    def matches(self, payload: Any) -> bool:
        """Whether both required keys are there."""
        return isinstance(payload, dict) and "messages" in payload and "output" in payload

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Found]:
        """One trace, or why it is skipped. Raises DecodeError naming the key that is wrong."""
        if not isinstance(payload, dict):
            raise DecodeError("an event must be an object")
        unknown = sorted(payload.keys() - KEYS)
        if unknown:
            raise DecodeError(f"unknown key {unknown[0][:80]!r}: remove or correct it")
        if payload.get("output") in (None, [], "") and "output" in payload:
            return [Skipped(SkipReason.EMPTY)]
        output = answer_of(payload.get("output"), "output")
        silent = silence(output)
        if silent is not None:
            return [Skipped(silent)]
        own, apart = parted(payload.get("feedback"))
        try:
            trace = Trace(
                source=source,
                **_fields({**payload, "feedback": own} if apart else payload, output, timestamp),
            )
        except ValidationError as error:
            raise DecodeError(first_problem(error)) from None
        return [trace, *(said_of(trace.id, each, source=source, ts=trace.ts) for each in apart)]


def _fields(payload: dict[str, Any], output: tuple[Message, ...], timestamp: float | None) -> dict[str, Any]:
    """A trace's fields but for its source, which is not the payload's to name."""
    fields = {key: value for key, value in payload.items() if value is not None}
    origin = fields.pop("source", None)
    if origin is not None:
        if not isinstance(origin, str):
            raise DecodeError("`source` must be text")
        fields["tags"] = {"source": origin} | _tags(fields.get("tags"))
    fields["id"] = identity(fields.get("id"), payload)
    fields["ts"] = moment(fields.get("ts"), timestamp)
    fields["tools"] = definitions(fields.get("tools"))
    fields["messages"], fields["output"] = tied(messages_of(fields.get("messages"), "messages"), output)
    if cut_off(output):
        fields["truncated"] = True
    if any(map(hides, payload["output"])):
        fields["unshown"] = True
    return fields


def _tags(raw: Any) -> dict[str, Any]:
    if raw is not None and not isinstance(raw, dict):
        raise DecodeError("`tags` must be an object of texts")
    return raw or {}


def identity(own: Any, payload: Any) -> str:
    """The event's own id, else a digest of the canonical payload."""
    if own is None or own == "":
        return digest(payload)
    if isinstance(own, int) and not isinstance(own, bool):
        return str(own)
    if not isinstance(own, str):
        raise DecodeError("`id` must be text")
    return own


def moment(raw: Any, fallback: float | None) -> float:
    """Seconds since the epoch from a number or ISO 8601 text (UTC where it names no zone), else the fallback.

    Raises DecodeError; milliseconds are refused, not guessed.
    """
    if raw is None:
        if fallback is None:
            raise DecodeError("no `ts`, and the transport gives no time")
        return fallback
    if isinstance(raw, str):
        try:
            when = datetime.fromisoformat(raw)
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise DecodeError("`ts` is text but not an ISO 8601 time") from None
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 <= raw < LATEST:
        raise DecodeError("`ts` must be seconds since the epoch or an ISO 8601 time")
    return float(raw)

"""What a decoded event holds and what it lacks, with what that means, for people who set up a source."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.records import Message, Trace

_DIGEST = re.compile(r"[0-9a-f]{64}")
SHOWN = 60
"""Characters of a value that are shown."""

LACKING = {
    "id": "it is named by the digest of its content: feedback cannot name it",
    "time": "it is the transport's",
    "model": "which adapter answered cannot be told",
    "session": "it is joined with no other turn of its conversation",
    "subject": "what one contributor may give is counted by session, else by event",
    "system prompt": "versions of the agent are told apart by its tools alone",
    "tools": "what it may call is not known to a policy that learns from it",
    "usage": "what it cost is not known",
}
"""What follows where a field is missing."""
NOTES = {
    "truncated": "the answer was cut off: it wins no pair and is no target",
    "unshown": "a part of the answer is no text: it is in no pair",
    "incomplete": "what led to the answer is not all in the log: it is in no training",
}
"""What follows where a trace is marked."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Fields that were found, by name; those that are missing, with what it means; and what else follows."""

    found: Mapping[str, str]
    missing: Mapping[str, str]
    notes: Sequence[str]


def of(trace: Trace, *, transport: float | None) -> Inventory:
    """The inventory of a trace. `transport` is the time that the transport gave its record."""
    own = {
        "id": None if _DIGEST.fullmatch(trace.id) else trace.id,
        "time": None if trace.ts == transport else f"{trace.ts:.3f}".rstrip("0").rstrip("."),
        "model": _model(trace),
        "adapter": trace.adapter,
        "agent version": trace.agent_version,
        "session": trace.session,
        "subject": trace.subject,
        "messages": _turns(trace.messages),
        "output": _turns(trace.output),
        "system prompt": _characters([each for each in trace.messages if each.role == "system"]),
        "thought": _thought(trace.output),
        "reference": trace.reference,
        "tools": ", ".join(map(_tool, trace.tools)) or None,
        "usage": _usage(trace),
        "tags": ", ".join(f"{key}={value}" for key, value in trace.tags.items()) or None,
    }
    found = {name: _short(value) for name, value in own.items() if value}
    missing = {name: means for name, means in LACKING.items() if name not in found}
    if "tools" in missing and not any(each.tool_calls for each in (*trace.messages, *trace.output)):
        del missing["tools"]
    return Inventory(found, missing, [means for name, means in NOTES.items() if getattr(trace, name)])


def _model(trace: Trace) -> str | None:
    asked = trace.tags.get("requested_model")
    if trace.model is None or asked in (None, trace.model):
        return trace.model
    return f"{trace.model} (asked for as {asked})"


def _turns(messages: Sequence[Message]) -> str:
    counts = Counter(each.role for each in messages)
    calls = sum(len(each.tool_calls) for each in messages)
    told = ", ".join(f"{count} {role}" for role, count in counts.items())
    return f"{len(messages)} ({told}{f', {calls} calls' if calls else ''})"


def _characters(messages: Sequence[Message]) -> str | None:
    return f"{sum(len(each.content) for each in messages)} characters" if messages else None


def _thought(messages: Sequence[Message]) -> str | None:
    size = sum(len(each.reasoning) for each in messages)
    return f"{size} characters" if size else None


def _tool(raw: Mapping[str, object]) -> str:
    inside = raw.get("function")
    name = inside.get("name") if isinstance(inside, Mapping) else raw.get("type")
    return str(name)


def _usage(trace: Trace) -> str | None:
    used = trace.usage
    if used is None:
        return None
    cached = f", {used.cache_read_tokens} of it from a cache" if used.cache_read_tokens else ""
    return f"{used.input_tokens} tokens in{cached}, {used.output_tokens} out"


def _short(value: str) -> str:
    flat = " ".join(value.split())
    return flat if len(flat) <= SHOWN else f"{flat[:SHOWN]}…"

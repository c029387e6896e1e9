"""Traces from spans: the parts of each span put together, and of a loop of tools the last step.

An agent that calls tools asks its model once a step, each time with all that went before. The steps of one
loop are one answer, which is the last one's; the others are in its history.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from policies.records import Message, Trace, canonical
from policies.spans import WHOLE, Piece, Span

COMMON = ("session", "subject", "adapter", "agent_version")
"""What a call has from the spans around it where it does not say it itself."""


@dataclass(frozen=True, slots=True)
class JoinedSpans:
    """What became of one trace's parts. `steps` are calls that a later one holds, `blank` those whose content
    never came. `events` names, by span, the event that a call is, where the span alone does not say it.
    """

    traces: tuple[Trace, ...]
    steps: int = 0
    blank: int = 0
    events: Mapping[str, str] = field(default_factory=dict)


def joined(parts: Sequence[Span]) -> JoinedSpans:
    """The answers of one trace's spans, in order of time. Joining the same parts again gives the same.

    Of two spans of one response (two instrumentations of one client) the earlier one counts.
    """
    spans = sorted(_spans(parts), key=_order)
    own = {part.span_id: part.id for part in parts if part.part == WHOLE and part.is_call}
    calls: dict[str, Span] = {}
    for span in spans:
        if span.is_call:
            calls.setdefault(span.id, span)
    last = _last_steps(list(calls.values()))
    common = _Common(spans)
    traces = [trace for call in last for trace in _traces(call, common.of(call))]
    return JoinedSpans(
        traces=tuple(traces),
        steps=len(calls) - len(last),
        blank=len({span.id for span in spans if span.called and not span.is_call} - calls.keys()),
        events={span.span_id: span.id for span in spans if span.is_call and own.get(span.span_id) != span.id},
    )


def _order(span: Span) -> tuple[float, str]:
    return span.ts, span.span_id


def _spans(parts: Sequence[Span]) -> Iterator[Span]:
    by_id: dict[str, list[Span]] = {}
    for part in parts:
        by_id.setdefault(part.span_id, []).append(part)
    for each in by_id.values():
        yield each[0] if len(each) == 1 and not each[0].pieces else _whole(each)


def _whole(parts: Sequence[Span]) -> Span:
    """A span of its parts: itself first, then what was logged of it. Its content is that of one of them."""
    parts = sorted(parts, key=lambda each: (each.part != WHOLE, each.part))
    told = [each for each in parts if each.is_call] or [_pieced(parts)]
    said = next((each for each in told if not each.incomplete), told[0])
    names = ("parent_id", "ended_at", "event_id", "model", "usage", *COMMON)
    found: dict[str, Any] = {name: _first(parts, name) for name in names}
    return said.model_copy(
        update=found
        | {
            "part": WHOLE,
            "ts": parts[0].ts,
            "tools": said.tools or next((each.tools for each in parts if each.tools), ()),
            "tags": {key: value for each in reversed(parts) for key, value in each.tags.items()},
            "called": True if said.is_call else any(each.called for each in parts),
            "incomplete": said.incomplete or any(each.incomplete for each in parts if not each.is_call),
        }
    )


def _first(parts: Sequence[Span], name: str) -> Any:
    return next((found for each in parts if (found := getattr(each, name)) is not None), None)


def _pieced(parts: Sequence[Span]) -> Span:
    """The first part with the conversation that all pieces together are."""
    pieces = sorted({each.key: each for part in parts for each in part.pieces}.values(), key=_place)
    choices: dict[int, Piece] = {each.choice: each for each in pieces if each.choice is not None}
    answers = [choices[number] for number in sorted(choices)]
    return parts[0].model_copy(
        update={
            "messages": tuple(each.message for each in pieces if each.choice is None),
            "output": tuple(each.message for each in answers[:1]),
            "choices": tuple((each.message,) for each in answers[1:]),
            "pieces": (),
            "truncated": any(each.truncated for each in parts),
            "unshown": any(each.unshown for each in parts),
        }
    )


def _place(piece: Piece) -> tuple[int, int]:
    return piece.at_ns, piece.number


def _last_steps(calls: Sequence[Span]) -> list[Span]:
    """The calls but for those that a later one goes on from with the results of their tools.

    The cost is linear in all they say: a history is known by the digest of what it says up to each message.
    """
    onward: set[bytes] = set()
    whole: dict[str, bytes] = {}
    for call in calls:
        at = b""
        for message in call.messages:
            if message.role == "tool":
                onward.add(at)
            at = _beyond(at, message)
        for message in call.output:
            at = _beyond(at, message)
        whole[call.span_id] = at
    return [call for call in calls if not (call.output[-1].tool_calls and whole[call.span_id] in onward)]


def _beyond(before: bytes, message: Message) -> bytes:
    """A history with one more message. Thoughts, names and ids are left out: a later step repeats without."""
    calls = [[call.name, call.arguments] for call in message.tool_calls]
    return sha256(before + canonical([message.role, message.content.strip(), calls])).digest()


def _traces(call: Span, common: Mapping[str, Any]) -> Iterator[Trace]:
    for number, output in enumerate((call.output, *call.choices)):
        yield Trace(
            id=f"{call.id}#{number}" if number else call.id,
            source=call.source,
            ts=call.ts if call.ended_at is None else call.ended_at,
            messages=call.messages,
            output=output,
            model=call.model,
            tools=call.tools,
            tags=call.tags,
            usage=call.usage,
            truncated=call.truncated,
            unshown=call.unshown,
            incomplete=call.incomplete,
            **common,
        )


class _Common:
    """What spans have from those around them: the nearest that they are within, else the first of the trace.

    Each span is asked once, however deep it stands. Parents that lead in a circle are met once.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        self._by_id = {span.span_id: span for span in spans}
        self._first = {name: _first([span for span in spans if getattr(span, name)], name) for name in COMMON}
        self._known: dict[str, dict[str, Any]] = {}

    def of(self, span: Span) -> dict[str, Any]:
        """The values of a span, by their names."""
        found = self._within(span)
        return {name: found[name] or self._first[name] for name in COMMON}

    def _within(self, span: Span) -> dict[str, Any]:
        upwards: dict[str, Span] = {}
        here: Span | None = span
        while here is not None and here.span_id not in self._known and here.span_id not in upwards:
            upwards[here.span_id] = here
            here = self._by_id.get(here.parent_id) if here.parent_id is not None else None
        found = self._known.get(here.span_id, {}) if here is not None else {}
        for each in reversed(upwards.values()):
            found = {name: getattr(each, name) or found.get(name) for name in COMMON}
            self._known[each.span_id] = found
        return found

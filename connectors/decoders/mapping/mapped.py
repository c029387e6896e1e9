"""The decoder of a format that a mapping file describes."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from connectors.decoders import exchange, strict
from connectors.decoders.exchange import Exchange
from connectors.decoders.mapping import shapes, unflattened
from connectors.decoders.mapping.paths import Path, opened
from connectors.decoders.mapping.spec import MappingSpec, Paths, UsageSpec
from connectors.decoders.ornaments import as_text, named, time_of
from connectors.decoders.usage import MOST
from connectors.errors import DecodeError, UnknownFormatError
from connectors.events import Found, Skipped, SkipReason
from policies.records import TokenUsage, canonical, digest

MOST_EVENTS = 20_000
"""Events of one record."""
LOOKED_AT = 8
"""Events of a record, of which one tells whether it is of this format."""
_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


class Mapped:
    """Reads one format by its mapping."""

    def __init__(self, spec: MappingSpec) -> None:
        self.name = spec.name
        self._spec = spec

    def matches(self, payload: Any) -> bool:
        """Whether one of the first events in it is of this format."""
        return any(
            isinstance(event, Mapping) and self._is_own(self._nested(event), payload)
            for event in islice(self._events(payload), LOOKED_AT)
        )

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Found]:
        """What each event in it is. Raises DecodeError for what holds too many."""
        found: list[Found] = []
        for at, event in enumerate(self._events(payload)):
            if at >= MOST_EVENTS:
                raise DecodeError(f"more than {MOST_EVENTS} events in one record")
            try:
                found.extend(self._read(event, payload, source=source, timestamp=timestamp))
            except DecodeError as error:
                found.append(type(error)(str(error), canonical(event)))
        return found

    def _events(self, payload: Any) -> Iterator[Any]:
        """The events of a record, each followed by those under it."""
        spec = self._spec
        lists = (each for path in spec.each if isinstance(each := opened(path.find(payload, payload)), list))
        stack: list[Any] = list(reversed(next(lists, [payload])))
        while stack:
            event = stack.pop()
            yield event
            if isinstance(event, Mapping):
                for key in reversed(spec.nested):
                    below = event.get(key)
                    stack.extend(reversed(below) if isinstance(below, list) else ())

    def _nested(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        for path in self._spec.unflatten:
            event = unflattened.at(event, path)
        return event

    def _is_own(self, event: Mapping[str, Any], record: Any) -> bool:
        return all(condition.holds(event, record) for condition in self._spec.when)

    def _read(self, raw: Any, record: Any, *, source: str, timestamp: float | None) -> list[Found]:
        if not isinstance(raw, Mapping):
            raise DecodeError("an event must be an object")
        spec, event = self._spec, self._nested(raw)
        strict.check(event)
        if not self._is_own(event, record):
            unmet = next(each.text for each in spec.when if not each.holds(event, record))
            raise UnknownFormatError(f"not what the mapping {self.name} is of: see `when`, `{unmet}`")
        if any(condition.holds(event, record) for condition in spec.skip):
            return [Skipped(SkipReason.NO_MODEL_CALL)]
        if any(condition.holds(event, record) for condition in spec.failed):
            return [Skipped(SkipReason.ERROR)]
        return exchange.events(self._exchange(event, raw, record, timestamp), source=source)

    def _exchange(
        self, event: Mapping[str, Any], raw: Mapping[str, Any], record: Any, timestamp: float | None
    ) -> Exchange:
        spec = self._spec

        def at(paths: Paths) -> Any:
            return first(paths, event, record)

        messages = at(spec.messages)
        if messages in (None, "", [], {}):
            raise DecodeError(f"no messages: nothing is at {_places(spec.messages)}")
        ended = at(spec.finish_reason)
        return Exchange(
            messages=shapes.turns(messages, at(spec.system)),
            choices=[_ended(choice, ended) for choice in shapes.answers(at(spec.output))],
            id=named(at(spec.id)) or digest(dict(raw)),
            ts=time_of(_seconds(at(spec.ts), spec.ts_unit), timestamp),
            asked=spec.messages[0].text,
            answered=f"{spec.output[0].text}[{{}}]",
            model=named(at(spec.model)),
            requested=named(at(spec.requested_model)),
            adapter=named(at(spec.adapter)),
            agent_version=named(at(spec.agent_version)),
            session=named(at(spec.session)),
            subject=named(at(spec.subject)),
            reference=_text(at(spec.reference)),
            tools=shapes.tools(at(spec.tools)),
            tags={name: text for name, paths in spec.tags.items() if (text := _text(at(paths))) is not None},
            incomplete=any(condition.holds(event, record) for condition in spec.incomplete),
            usage=None if spec.usage is None else _usage(spec.usage, event, record),
        )


def first(paths: tuple[Path, ...], event: Any, record: Any) -> Any:
    """What the first path that leads somewhere leads to."""
    found = (path.find(event, record) for path in paths)
    return next((each for each in found if each not in (None, "")), None)


def _ended(choice: Any, reason: Any) -> Any:
    """The choice with the reason for which it ended, where it does not say it itself."""
    if reason is None or not isinstance(choice, Mapping) or choice.get("finish_reason"):
        return choice
    return {**choice, "finish_reason": reason}


def _usage(spec: UsageSpec, event: Any, record: Any) -> TokenUsage | None:
    def count(paths: tuple[Path, ...] | None) -> int | None:
        raw = None if paths is None else first(paths, event, record)
        raw = int(raw) if isinstance(raw, float) and raw.is_integer() else raw
        return raw if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw <= MOST else None

    given, made = count(spec.input_tokens), count(spec.output_tokens)
    if given is None or made is None:
        return None
    read, written = count(spec.cache_read_tokens) or 0, count(spec.cache_write_tokens) or 0
    return TokenUsage(
        input_tokens=given + (read + written if spec.cache_apart else 0),
        output_tokens=made,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=count(spec.reasoning_tokens) or 0,
    )


def _seconds(raw: Any, unit: str) -> Any:
    """A time in seconds where it is a number, or one as text; a date as it is."""
    if isinstance(raw, str) and len(raw) < len("1750000000000000000000") and raw.isdecimal():
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return raw
    try:
        return raw / _UNITS[unit]
    except OverflowError:
        return None


def _text(raw: Any) -> str | None:
    return None if raw is None else as_text(raw)


def _places(paths: tuple[Path, ...]) -> str:
    return ", ".join(f"`{path.text}`" for path in paths)

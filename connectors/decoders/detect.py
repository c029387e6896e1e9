"""From a record's bytes to its events: strict parsing, then the decoder that knows the format.

A record is one JSON object, a JSON array of them, or one a line; every event stands for itself, so that a bad
one takes no other with it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Decoder
from connectors.decoders import strict
from connectors.decoders.native import Native
from connectors.decoders.openai_chat import OpenAIChat
from connectors.errors import DecodeError, FatalError
from policies.clusters import cluster_of
from policies.records import Trace, canonical

MAX_NAME = 512
"""Characters of names that databases index. A longer one is refused here, where the reason can be told."""

_BOM = b"\xef\xbb\xbf"
_NAMES = ("model", "adapter", "session", "subject")


def shipped() -> tuple[Decoder, ...]:
    """The decoders that come with rlaifd, in the order in which they are asked."""
    return (Native(), OpenAIChat())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event: a trace or the reason against it, and which decoder was asked."""

    decoder: str | None
    result: Trace | DecodeError


class Decoders:
    """Decodes records with the named decoders, or with whichever matches (`auto`).

    Raises FatalError at once for a name that is not among `known`.
    """

    def __init__(self, names: str | Sequence[str] = "auto", known: Sequence[Decoder] | None = None) -> None:
        every = {decoder.name: decoder for decoder in (shipped() if known is None else known)}
        wanted = [names] if isinstance(names, str) else list(names)
        self._auto = wanted == ["auto"]
        for name in () if self._auto else wanted:
            if name not in every:
                raise FatalError(f"unknown decoder {name!r}: use auto or one of {', '.join(sorted(every))}")
        self._decoders = list(every.values()) if self._auto else [every[name] for name in wanted]

    def decode(
        self, value: bytes | None, *, source: str, timestamp: float | None
    ) -> list[Trace | DecodeError]:
        """Every event of the record, in order: the trace, or why there is none. Never empty, never raises."""
        return [outcome.result for outcome in self.outcomes(value, source=source, timestamp=timestamp)]

    def outcomes(self, value: bytes | None, *, source: str, timestamp: float | None) -> list[Outcome]:
        """The same, with the decoder that was asked."""
        found: list[Outcome] = []
        try:
            for event in _events(value):
                found.extend(self._outcomes(event, source, timestamp))
        except DecodeError as error:
            found.append(Outcome(None, error))
        return found

    def _outcomes(self, event: "_Event", source: str, timestamp: float | None) -> list[Outcome]:
        decoder: Decoder | None = None
        try:
            payload = event.payload()
            decoder = self._decoder_of(payload)
            traces = decoder.decode(payload, source=source, timestamp=timestamp)
            _check(traces)
        except DecodeError as error:
            return [Outcome(decoder.name if decoder else None, DecodeError(str(error), event.body()))]
        except Exception as error:  # noqa: BLE001 - a decoder's own bug must not hold up the source for ever
            why = f"decoder {decoder.name if decoder else 'auto'} failed: {type(error).__name__}"
            return [Outcome(decoder.name if decoder else None, DecodeError(why, event.body()))]
        return [Outcome(decoder.name, trace) for trace in traces]

    def _decoder_of(self, payload: Any) -> Decoder:
        if len(self._decoders) == 1 and not self._auto:
            return self._decoders[0]
        for decoder in self._decoders:
            if decoder.matches(payload):
                return decoder
        names = ", ".join(decoder.name for decoder in self._decoders)
        if not isinstance(payload, dict):
            raise DecodeError(f"an event must be an object, not {type(payload).__name__}")
        keys = ", ".join(sorted(payload))[:120] or "none"
        raise DecodeError(f"no decoder knows this format (keys: {keys}; decoders: {names})")


@dataclass(frozen=True, slots=True)
class _Event:
    """One event of a record: text still to be parsed, or a parsed item. `alone`: it is the whole record."""

    text: str | None
    item: Any = None
    alone: bool = False

    def payload(self) -> Any:
        return self.item if self.text is None else strict.parse(self.text)

    def body(self) -> bytes | None:
        if self.alone:
            return None
        return canonical(self.item) if self.text is None else self.text.encode()


def _events(value: bytes | None) -> Iterator[_Event]:
    """Raises DecodeError where the record as a whole holds nothing."""
    if not value:
        raise DecodeError("an empty value (a tombstone)")
    try:
        text = value.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"not UTF-8 at byte {error.start}") from None
    try:
        whole = strict.parse(text)
    except DecodeError:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2 or text.lstrip().startswith("[") or not any(map(_is_object, lines)):
            raise
        yield from (_Event(line) for line in lines)
        return
    if not isinstance(whole, list):
        yield _Event(None, whole, alone=True)
        return
    if not whole:
        raise DecodeError("an empty array")
    yield from (_Event(None, item) for item in whole)


def _is_object(line: str) -> bool:
    try:
        return isinstance(strict.parse(line), dict)
    except DecodeError:
        return False


def _check(traces: Sequence[Trace]) -> None:
    """Refuses an event without traces, and names that a database's index would refuse.

    What the store will compute of a trace is computed here too: what cannot be is a dead letter, and raises
    nowhere further on.
    """
    if not traces:
        raise DecodeError("holds no event")
    for trace in traces:
        _ = trace.digest, cluster_of(trace.messages)
        for name in _NAMES:
            if len(getattr(trace, name) or "") > MAX_NAME:
                raise DecodeError(f"`{name}` is longer than {MAX_NAME} characters")

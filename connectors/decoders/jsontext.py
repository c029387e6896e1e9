"""JSON records: strict parsing, then the format that knows the payload.

A record is one JSON object, a JSON array of them, or one a line; every event stands for itself, so that a bad
one takes no other with it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Format
from connectors.decoders import strict
from connectors.errors import DecodeError, UnknownFormatError
from connectors.events import Found, Outcome, Skipped, SkipReason
from policies.feedback import FeedbackEvent
from policies.records import Trace, canonical
from policies.spans import Span

MAX_NAME = 512
"""Characters of names that databases index. A longer one is refused here, where the reason can be told."""
MOST_EVENTS = 20_000
"""Events of one record."""
LEAST_EVENT = 60
"""Bytes of the shortest event there is. A record whose items are shorter on average does not hold events."""
FEW = 100
"""So many items may be of any size: each is told what is wrong with it."""

_BOM = b"\xef\xbb\xbf"
_NAMES: dict[type, tuple[str, ...]] = {
    Trace: ("model", "adapter", "session", "subject"),
    FeedbackEvent: (),
    Span: ("model", "adapter", "session", "subject"),
}
_FRAMED = 5
"""Bytes of the header that Confluent's serializers write: a zero and the schema's number."""
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x78\x9c": "zlib",
}
"""How compressed bytes begin, and with what they are compressed. None of them can begin JSON."""
_ENDS = ("{", "[", ",", "}", "]")


class JsonDecoder:
    """Decodes JSON records by the formats it is given; `auto`: by the first of them that matches."""

    name = "json"

    def __init__(self, formats: Sequence[Format], *, auto: bool) -> None:
        self._formats = list(formats)
        self._auto = auto

    def takes(self, record: bytes, content_type: str | None) -> bool:
        """Always: what is no JSON is told so."""
        del record, content_type
        return True

    def decode(
        self, record: bytes, content_type: str | None, *, source: str, timestamp: float | None
    ) -> list[Found]:
        """Every event of the record, in order. Never empty, never raises."""
        del content_type
        return [each.result for each in self.outcomes(record, source=source, timestamp=timestamp)]

    def outcomes(self, record: bytes, *, source: str, timestamp: float | None) -> list[Outcome]:
        """The same, with the format that was asked."""
        found: list[Outcome] = []
        try:
            for event in _events(record):
                found.extend(self._outcomes(event, source, timestamp))
        except DecodeError as error:
            found.append(Outcome(None, error))
        return found

    def _outcomes(self, event: "_Item", source: str, timestamp: float | None) -> list[Outcome]:
        name, known = None, False
        try:
            payload = event.payload()
            if payload is None:
                return [Outcome(None, Skipped(SkipReason.TOMBSTONE))]
            form = self._format_of(payload)
            name, known = form.name, form.matches(payload)
            made = form.decode(payload, source=source, timestamp=timestamp)
            if not made:
                raise DecodeError("holds no event")  # noqa: TRY301 - told like the decoder's own refusals
            return [Outcome(name, checked(each, event.body)) for each in made]
        except DecodeError as error:
            strange = isinstance(error, UnknownFormatError) or (name is not None and not known)
            kind = UnknownFormatError if strange else DecodeError
            return [Outcome(name, kind(str(error), event.body()))]
        except Exception as error:  # noqa: BLE001 - a decoder's own bug must not hold up the source for ever
            why = f"decoder {name or 'auto'} failed: {type(error).__name__}"
            return [Outcome(name, DecodeError(why, event.body()))]

    def _format_of(self, payload: Any) -> Format:
        if len(self._formats) == 1 and not self._auto:
            return self._formats[0]
        for form in self._formats:
            if form.matches(payload):
                return form
        names = ", ".join(form.name for form in self._formats)
        if not isinstance(payload, dict):
            raise UnknownFormatError(f"an event must be an object, not {type(payload).__name__}")
        keys = ", ".join(sorted(payload))[:120] or "none"
        raise UnknownFormatError(f"no decoder knows this format (keys: {keys}; decoders: {names})")


@dataclass(frozen=True, slots=True)
class _Item:
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


def _events(value: bytes) -> Iterator[_Item]:
    """Raises DecodeError where the record as a whole holds nothing, or is no record of events."""
    text = _text(value)
    try:
        whole = strict.parse(text)
    except DecodeError as error:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2 or text.lstrip().startswith("[") or not any(map(_is_object, lines)):
            raise _explained(error, text) from None
        _bound(len(lines), len(value))
        yield from (_Item(line) for line in lines)
        return
    if not isinstance(whole, list):
        yield _Item(None, whole, alone=True)
        return
    if not whole:
        raise DecodeError("an empty array")
    if not any(isinstance(item, dict) for item in whole):
        raise UnknownFormatError(f"an array of {len(whole)} items of which none is an object: no events")
    _bound(len(whole), len(value))
    yield from (_Item(None, item) for item in whole)


def _text(value: bytes) -> str:
    if value[:1] == b"\0" and len(value) > _FRAMED:
        raise UnknownFormatError(
            f"starts with Confluent's schema header ({_FRAMED} bytes), of schema "
            f"{int.from_bytes(value[1:_FRAMED])}: write plain JSON without a schema"
        )
    for magic, codec in _COMPRESSED.items():
        if value.startswith(magic):
            raise UnknownFormatError(
                f"compressed with {codec} by what wrote it: write it plain, and let Kafka's producer "
                "compress (`compression.type`)"
            )
    try:
        return value.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise UnknownFormatError(f"not UTF-8 at byte {error.start}") from None


def _bound(items: int, size: int) -> None:
    """Refuses as a whole what would become a dead letter an item."""
    if items > MOST_EVENTS or (items > FEW and items * LEAST_EVENT > size):
        raise DecodeError(
            f"{items} items in {size} bytes: a record holds at most {MOST_EVENTS} events, none of them "
            f"shorter than {LEAST_EVENT} bytes"
        )


def _is_object(line: str) -> bool:
    try:
        return isinstance(strict.parse(line), dict)
    except DecodeError:
        return False


def _explained(error: DecodeError, text: str) -> DecodeError:
    """Says of a piece of a pretty-printed document what it is."""
    line = text.strip()
    if (
        isinstance(error, UnknownFormatError)
        and "\n" not in line
        and line.endswith(_ENDS)
        and len(line) < 1000
    ):
        return UnknownFormatError(f"{error}; one record a line: this is a piece of JSON over many lines")
    return error


def checked(made: Found, body: Callable[[], bytes | None]) -> Found:
    """The event, or why the store cannot take it. `body` gives its own bytes; None: the record's.

    What the store will compute of an event is computed here too: what cannot be is a dead letter, and raises
    nowhere further on. So are names that a database's index would refuse.
    """
    if isinstance(made, DecodeError):
        return type(made)(str(made), body() if made.body is None else made.body)
    if isinstance(made, Skipped):
        return made
    _ = made.digest
    if isinstance(made, Trace):
        _ = made.cluster
    for name in _NAMES[type(made)]:
        if len(getattr(made, name) or "") > MAX_NAME:
            return DecodeError(f"`{name}` is longer than {MAX_NAME} characters", body())
    return made

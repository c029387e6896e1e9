"""From a record's bytes to its events: the decoder that takes it, or JSON by the format that knows it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from connectors.base import Decoder, Format
from connectors.decoders.anthropic import Anthropic
from connectors.decoders.feedback import FeedbackObjects
from connectors.decoders.jsontext import JsonDecoder, checked
from connectors.decoders.litellm import LiteLLM
from connectors.decoders.mapping.mapped import Mapped
from connectors.decoders.mapping.shipped import specs
from connectors.decoders.mapping.spec import read
from connectors.decoders.native import Native
from connectors.decoders.openai_chat import OpenAIChat
from connectors.decoders.openai_responses import OpenAIResponses
from connectors.decoders.otlp.otlp import OtlpJson, OtlpProto
from connectors.errors import DecodeError, FatalError, UnknownFormatError
from connectors.events import Found, Outcome, Skipped, SkipReason


def shipped() -> tuple[Format, ...]:
    """The JSON formats that come with rlaifd, in the order in which they are asked."""
    pairs = (LiteLLM(), Anthropic(), OpenAIResponses(), OpenAIChat())
    return (Native(), FeedbackObjects(), *pairs, *map(Mapped, specs()), OtlpJson())


def configured(decoder: str, mapping: Path | None) -> "Decoders":
    """A source's decoders: `auto`, or one by its name. What a mapping file describes is asked first.

    Raises FatalError for a file that cannot be read, and for a name that is unknown or taken.
    """
    known = shipped()
    if mapping is None:
        return Decoders(decoder, known)
    own = Mapped(read(mapping))
    if own.name == "auto" or any(own.name == each.name for each in known):
        raise FatalError(f"{mapping}: name: {own.name!r} is taken by a decoder of ours: choose another")
    return Decoders(decoder, (own, *known))


class Decoders:
    """Decodes records with the named decoders and JSON formats, or with whichever knows them (`auto`).

    Decoders are asked first, in their order, whether they take the bytes; what none takes is read as JSON.
    Raises FatalError at once for a name that is not among `known` and `others`.
    """

    def __init__(
        self,
        names: str | Sequence[str] = "auto",
        known: Sequence[Format] | None = None,
        *,
        others: Sequence[Decoder] = (OtlpProto(),),
    ) -> None:
        formats = {each.name: each for each in (shipped() if known is None else known)}
        decoders = {each.name: each for each in others}
        wanted = [names] if isinstance(names, str) else list(names)
        auto = wanted == ["auto"]
        every = list(dict.fromkeys((*formats, *decoders)))
        for name in () if auto else wanted:
            if name not in every:
                raise FatalError(f"unknown decoder {name!r}: use auto or one of {', '.join(sorted(every))}")
        chosen = every if auto else wanted
        self._decoders = [decoders[name] for name in chosen if name in decoders]
        mine = [formats[name] for name in chosen if name in formats]
        self._json = JsonDecoder(mine, auto=auto) if mine else None
        self.names = [*(each.name for each in self._decoders), *(each.name for each in mine)]
        """In the order in which they are asked."""

    def decode(
        self, value: bytes | None, *, source: str, timestamp: float | None, content_type: str | None = None
    ) -> list[Found]:
        """Every event of the record, in order: what it is, a reason to skip it, or what is wrong with it.
        Never empty, never raises.
        """
        outcomes = self.outcomes(value, source=source, timestamp=timestamp, content_type=content_type)
        return [outcome.result for outcome in outcomes]

    def outcomes(
        self, value: bytes | None, *, source: str, timestamp: float | None, content_type: str | None = None
    ) -> list[Outcome]:
        """The same, with the decoder or format that was asked."""
        if not value or not value.strip():
            return [Outcome(None, Skipped(SkipReason.TOMBSTONE))]
        for decoder in self._decoders:
            if decoder.takes(value, content_type):
                work = partial(decoder.decode, value, content_type, source=source, timestamp=timestamp)
                return _told(decoder.name, work)
        if self._json is not None:
            return self._json.outcomes(value, source=source, timestamp=timestamp)
        names = ", ".join(decoder.name for decoder in self._decoders)
        kind = content_type or "unknown"
        return [Outcome(None, UnknownFormatError(f"no decoder knows this (type: {kind}; decoders: {names})"))]


def _told(name: str, work: "partial[Sequence[Found]]") -> list[Outcome]:
    """What a decoder found; all that it can raise is what is wrong with the record."""
    try:
        found = work() or [DecodeError("holds no event")]
        return [Outcome(name, checked(each, lambda: None)) for each in found]
    except DecodeError as error:
        return [Outcome(name, error)]
    except Exception as error:  # noqa: BLE001 - a decoder's own bug must not hold up the source for ever
        return [Outcome(name, DecodeError(f"decoder {name} failed: {type(error).__name__}"))]

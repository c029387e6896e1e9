"""What a log says that somebody did about an answer, as an event: the keys that all such objects share."""

from typing import Any

from pydantic import ValidationError

from connectors.decoders.chat import first_problem
from connectors.errors import DecodeError
from policies.feedback import About, FeedbackEvent, FeedbackKind
from policies.records import Feedback, digest

SAID = ("score", "label", "comment")
KEYS = frozenset({"kind", "name", "correction", "by", *SAID})
SAYING = frozenset({FeedbackKind.THUMB, FeedbackKind.RATING})
"""Kinds that say nothing without a score or a label."""
APART = frozenset({"kind", "correction", "by"})
"""Keys for which a trace's own record has no place: what has one is an event beside it."""


def parted(raw: Any) -> tuple[Any, list[dict[str, Any]]]:
    """A trace's feedback without what is an event of its own, and that."""
    if not isinstance(raw, list):
        return raw, []
    apart = [each for each in raw if isinstance(each, dict) and APART & each.keys()]
    return [each for each in raw if not (isinstance(each, dict) and APART & each.keys())], apart


def said_of(trace_id: str, raw: dict[str, Any], *, source: str, ts: float) -> FeedbackEvent:
    """What an answer's own record says of it. Raises DecodeError naming the key that is wrong."""
    told = {"about": About.EVENT, "target": trace_id, "id": digest([trace_id, raw]), "ts": ts}
    unknown = sorted(raw.keys() - KEYS)
    if unknown:
        raise DecodeError(f"feedback: unknown key {unknown[0][:80]!r}: remove or correct it")
    return event_of(raw, source=source, **told)


def event_of(raw: dict[str, Any], *, source: str, **told: Any) -> FeedbackEvent:
    """The event of an object's keys and what is `told` of it beside them. Raises DecodeError."""
    fields = {key: value for key, value in raw.items() if value is not None}
    kind = one_of(FeedbackKind, fields.get("kind"), "kind")
    name = fields.get("name", None if kind is None else kind.value)
    if name is None:
        raise DecodeError('neither `kind` nor `name`: say what it is, as in `"kind": "thumb"`')
    if kind in SAYING and "score" not in fields and "label" not in fields:
        raise DecodeError(f"a {kind} has neither `score` nor `label`")
    try:
        return FeedbackEvent(
            source=source,
            said=Feedback(name=name, **{key: fields.get(key) for key in SAID}),
            by=fields.get("by", ""),
            correction=fields.get("correction"),
            said_as=kind,
            **told,
        )
    except ValidationError as error:
        raise DecodeError(first_problem(error)) from None


def one_of(kinds: Any, raw: Any, key: str) -> Any:
    """The member of an enum; None where nothing is said. Raises DecodeError with the names there are."""
    try:
        return None if raw is None else kinds(raw)
    except ValueError:
        names = ", ".join(each.value for each in kinds)
        raise DecodeError(f"`{key}` must be one of {names}") from None

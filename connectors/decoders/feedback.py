"""rlaifd's own feedback events: what somebody did about an answer, one object an event.

`about` (`event`, `span`, `trace` or `session`) and `target` are required, and one of `name` and `kind`. The
kind is one of thumb, rating, edit, correction, retry, rephrase, copy and abandon; without it the name tells
it. `score`, `label`, `comment`, `correction`, `by`, `id` and `ts` are understood; any other key is refused,
because it is a typo until shown otherwise. An edit and a correction carry the text in `correction`; without a
text the one before is taken back. A target of a span is `TRACE:SPAN`.
"""

from typing import Any

from connectors.decoders.native import identity, moment
from connectors.decoders.saying import KEYS as SAYING
from connectors.decoders.saying import event_of, one_of
from connectors.errors import DecodeError
from connectors.events import Found
from policies.feedback import About

REQUIRED = frozenset({"about", "target"})
KEYS = REQUIRED | SAYING | {"id", "ts"}


class FeedbackObjects:
    """The decoder of rlaifd's own feedback events."""

    name = "feedback"

    def matches(self, payload: Any) -> bool:
        """Whether it names what it is about."""
        return isinstance(payload, dict) and payload.keys() >= REQUIRED and "messages" not in payload

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Found]:
        """One event. Raises DecodeError naming the key that is wrong."""
        if not isinstance(payload, dict):
            raise DecodeError("an event must be an object")
        unknown = sorted(payload.keys() - KEYS)
        if unknown:
            raise DecodeError(f"unknown key {unknown[0][:80]!r}: remove or correct it")
        for key in sorted(REQUIRED):
            if payload.get(key) is None:
                raise DecodeError(f"`{key}` is missing")
        told = {
            "id": identity(payload.get("id"), payload),
            "ts": moment(payload.get("ts"), timestamp),
            "about": one_of(About, payload["about"], "about"),
            "target": payload["target"],
        }
        return [event_of({key: payload[key] for key in SAYING & payload.keys()}, source=source, **told)]

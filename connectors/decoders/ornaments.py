"""What an event is not lost for: names, times and tags, made fit to store whatever the log has there."""

from collections.abc import Mapping
from typing import Any

from connectors.decoders.native import moment
from connectors.errors import DecodeError
from policies.records import canonical, digest

LONGEST = 480
"""Characters of an id or a name that is kept as it is; a longer one is kept as its digest."""
_TIMES = ("ts", "timestamp", "created_at")


def named(raw: Any) -> str | None:
    """An id or a name as text; None where there is none."""
    if raw is None or raw == "":
        return None
    text = as_text(raw)
    return text if len(text) <= LONGEST else digest(text)


def first_named(*raw: Any) -> str | None:
    """The first of several that names something."""
    return next((found for each in raw if (found := named(each)) is not None), None)


def tags_of(raw: Any) -> dict[str, str]:
    """The tags in an object; none in anything else."""
    if not isinstance(raw, Mapping):
        return {}
    return {key: as_text(value) for key, value in raw.items() if value is not None}


def as_text(raw: Any) -> str:
    """Text as it is, anything else as canonical JSON."""
    return raw if isinstance(raw, str) else canonical(raw).decode()


def recorded_at(record: Mapping[str, Any]) -> Any:
    """When a record says that it was, in whatever form; None where it does not."""
    return next((record[key] for key in _TIMES if record.get(key) is not None), None)


def time_of(raw: Any, fallback: float | None) -> float:
    """The event's own time; the transport's where it has none that can be read. Raises DecodeError where
    there is neither.
    """
    if fallback is None:
        return moment(raw, None)
    try:
        return moment(raw, fallback) or fallback
    except DecodeError:
        return fallback

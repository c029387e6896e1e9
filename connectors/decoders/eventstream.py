"""Server-sent events as text: the form in which a proxy logs a stream that nobody assembled.

After the HTML standard's section "Server-sent events": lines end in LF, CRLF or CR, `data:` lines of one
event belong together, an empty line ends it, a line that begins with a colon is a comment. Events here are
JSON; `[DONE]` ends OpenAI's streams. What an event is called stands in its JSON, too.
"""

from typing import Any

from connectors.decoders import strict
from connectors.errors import DecodeError

MOST_EVENTS = 100_000
"""Events of one stream."""
_STARTS = ("data:", "event:", "id:", "retry:", ":")
_DONE = "[DONE]"


def is_stream(text: str) -> bool:
    """Whether a text looks like a stream's."""
    return text[:4096].lstrip("\ufeff \t\r\n").startswith(_STARTS)


def events(text: str, where: str) -> list[Any]:
    """The JSON of each event, in order. Raises DecodeError naming the place."""
    data = [each for each in _data(text) if each.strip() and each.strip() != _DONE]
    if len(data) > MOST_EVENTS:
        raise DecodeError(f"`{where}` is a raw stream of more than {MOST_EVENTS} events")
    try:
        # One parse of all costs a fraction of one each.
        found = strict.parse(f"[{','.join(data)}]")
    except DecodeError as error:
        raise DecodeError(f"`{where}` is a raw stream (SSE text) that cannot be read: {error}") from None
    if len(found) != len(data):
        raise DecodeError(f"`{where}` is a raw stream (SSE text) with an event that is not one JSON value")
    return list(found)


def _data(text: str) -> list[str]:
    found: list[str] = []
    lines: list[str] = []
    for line in text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line.strip() and lines:
            found.append("\n".join(lines))
            lines = []
    return [*found, "\n".join(lines)] if lines else found

"""How `rlaifd decode` says what became of an event."""

from collections.abc import Iterator, Sequence
from typing import Any

from daemon.stages.ingest.files import Explanation


def as_json(found: Explanation, asked: Sequence[str], *, whole: bool) -> dict[str, Any]:
    """One object; `whole`: with what was found and what is missing."""
    told: dict[str, Any] = {
        "line": found.line,
        "index": found.index,
        "decoder": found.decoder,
        "trace": None if found.trace is None else found.trace.model_dump(mode="json"),
        "reason": found.reason,
        "skipped": found.skipped,
        **({} if found.other is None else {found.other.kind: found.other.model_dump(mode="json")}),
    }
    if whole:
        held = found.inventory
        told["asked"] = list(_asked(found, asked))
        told["found"] = {} if held is None else dict(held.found)
        told["missing"] = {} if held is None else dict(held.missing)
        told["notes"] = [] if held is None else list(held.notes)
    return told


def as_text(found: Explanation, asked: Sequence[str], *, whole: bool) -> str:
    """One line; `whole`: and one for each thing that is to be said of it."""
    return "\n".join([_line(found), *(_below(found, asked) if whole else ())])


def _line(found: Explanation) -> str:
    where = f"line {found.line}" + (f", event {found.index}" if found.index else "")
    if found.other is not None:
        return f"{where}: {found.decoder}: {found.other.kind} {found.other.id}"
    if found.trace is None:
        return f"{where}: {'skipped' if found.skipped else 'not decoded'}: {found.reason}"
    trace = found.trace
    return (
        f"{where}: {found.decoder}: id {trace.id}, {len(trace.messages)} messages, "
        f"{len(trace.output)} in the output, model {trace.model or 'unknown'}{', cut off' * trace.truncated}"
    )


def _below(found: Explanation, asked: Sequence[str]) -> Iterator[str]:
    names = ", ".join(_asked(found, asked))
    yield f"    matched  {found.decoder or 'none'} (asked, in this order: {names})"
    if found.trace is None and found.other is None:
        what = "skipped and counted by its reason" if found.skipped else "a dead letter, with its bytes"
        yield f"    becomes  {what}: {found.reason}"
    if found.inventory is None:
        return
    held = found.inventory
    yield from (f"    found    {name}: {value}" for name, value in held.found.items())
    yield from (f"    missing  {name}: {means}" for name, means in held.missing.items())
    yield from (f"    note     {note}" for note in held.notes)


def _asked(found: Explanation, asked: Sequence[str]) -> Sequence[str]:
    """Those that were asked: up to the one that matched, or all."""
    return asked[: asked.index(found.decoder) + 1] if found.decoder in asked else asked

"""Looking into the store: verdicts, dead letters, the ledger's entries."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.cli.context import DEFAULT_CONFIG, ConfigOption, JsonOption, emit, wired

LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")]
SinceOption = Annotated[
    str | None, typer.Option(help="Not before: 2026-11-27, 2026-11-27T20:15 (UTC), or 90m, 24h, 7d ago.")
]
UntilOption = Annotated[str | None, typer.Option(help="Before: the same forms.")]
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SHOWN = 400
"""Characters of an answer that are printed; --json has all."""


def verdicts(
    *,
    event: Annotated[str | None, typer.Argument(help="An event's id in the log; default: any.")] = None,
    judge: Annotated[str | None, typer.Option(help="Of the judge of this name alone.")] = None,
    below: Annotated[float | None, typer.Option(help="With a reward below.")] = None,
    above: Annotated[float | None, typer.Option(help="With a reward above.")] = None,
    abstained: Annotated[bool, typer.Option("--abstained", help="Abstentions alone.")] = False,
    lowest: Annotated[bool, typer.Option("--lowest", help="The lowest rewards first.")] = False,
    limit: LimitOption = 20,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what judges said, newest first, with critique and answer. Looks through the newest 10,000."""
    from daemon.store.verdicts import VerdictFilter, found

    wanted = VerdictFilter(event, judge, below, above, abstained, lowest)
    with wired(config) as parts:
        rows = parts.store.read(lambda c: found(c, wanted, limit=limit))
    emit(rows, as_json=as_json, text=lambda rows: "\n\n".join(map(_verdict, rows)) or "no such verdict")


def deadletters(
    *,
    source: Annotated[str | None, typer.Option(help="Of this source alone.")] = None,
    letter: Annotated[int | None, typer.Option("--id", help="This one alone.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the bytes there, a line each, for `rlaifd decode`; of one, as they came."),
    ] = None,
    limit: LimitOption = 20,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List what came in and is no trace, newest first, with the reason; write the bytes to a file."""
    from daemon.store import deadletters as stored

    with wired(config) as parts:
        rows = parts.store.read(lambda c: stored.newest(c, limit=limit, source=source, letter=letter))
        if out is not None:
            bodies = parts.store.read(lambda c: [stored.body(c, row["id"]) or b"" for row in rows])
            out.write_bytes(bodies[0] if letter is not None and bodies else b"".join(map(_line, bodies)))
    emit(rows, as_json=as_json, text=lambda rows: "\n".join(map(_letter, rows)) or "no dead letter")


def show(
    *,
    action: Annotated[str | None, typer.Option(help="Of this kind alone, e.g. promote.")] = None,
    subject: Annotated[
        str | None, typer.Option(help="About this adapter, run, scope or person alone.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="By this actor alone.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show the newest entries, oldest of them first."""
    from daemon.store.ledger import entries

    after, before = moment(since, now=time.time()), moment(until, now=time.time())
    with wired(config) as parts:
        rows = parts.store.read(
            lambda c: entries(
                c, action=action, subject=subject, actor=actor, since=after, until=before, limit=limit
            )
        )
    emit(rows, as_json=as_json, text=lambda rows: "\n".join(map(_entry, rows)) or "no such entry")


def moment(said: str | None, *, now: float) -> float | None:
    """Seconds since the epoch; None where nothing is said. Raises BadParameter for what is no time."""
    if said is None:
        return None
    ago = re.fullmatch(r"(\d+)([smhd])", said)
    if ago:
        return now - int(ago[1]) * UNITS[ago[2]]
    try:
        found = datetime.fromisoformat(said)
    except ValueError:
        raise typer.BadParameter(
            f"{said!r} is no time: 2026-11-27, 2026-11-27T20:15, or 90m, 24h, 7d"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def _verdict(row: dict[str, Any]) -> str:
    lines = [f"{_at(row['created_at'])}  {row['judge']} ({row['role']})  event {row['event']}: {_said(row)}"]
    lines += [f"  scores    {scores}" for scores in [_scores(row["scores"])] if scores]
    lines += [f"  critique  {row['critique']}"] if row["critique"] else []
    lines += [f"  {name:<9} {_short(row[name])}" for name in ("answer", "other") if row[name] is not None]
    return "\n".join(lines)


def _said(row: dict[str, Any]) -> str:
    if row["abstention"] is not None:
        return f"abstained: {row['abstention']}"
    if row["kind"] == "pair":
        chosen = (
            "undecided: its two orders contradict each other" if row["flipped"] else f"chose {row['choice']}"
        )
        return f"comparison, {chosen}"
    reward = "no reward" if row["reward"] is None else f"reward {row['reward']:.2f}"
    return f"score, {reward}"


def _scores(scores: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in scores.items())


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN else f"{flat[:SHOWN]}… ({len(text)} characters)"


def _letter(row: dict[str, Any]) -> str:
    place = f"{row['source']} {row['topic']}/{row['partition']} at {row['offset']}"
    return f"{row['id']:>6}  {_at(row['stored_at'])}  {place}, {row['bytes']} bytes: {row['reason']}"


def _line(body: bytes) -> bytes:
    return body.rstrip(b"\r\n") + b"\n"


def _entry(row: dict[str, Any]) -> str:
    reason = f": {row['reason']}" if row["reason"] else ""
    return f"{row['seq']:>6}  {_at(row['at'])}  {row['actor']}  {row['action']}  {row['subject']}{reason}"

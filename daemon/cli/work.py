"""One stage at a time, by hand: ingest, decode, judge, curate, train, evaluate."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.context import DEFAULT_CONFIG, ActorOption, ConfigOption, JsonOption, emit, wired

if TYPE_CHECKING:
    from daemon.stages.ingest import Explanation


def ingest(file: Path, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Store one JSONL file of agent logs. Doing it again adds nothing."""
    from daemon import drain

    with wired(config) as parts:
        counts = drain.ingest(parts, file)
    print(
        f"{file}: {counts.records} records: {counts.stored} stored, {counts.duplicates} duplicates, "
        f"{counts.revisions} revisions, {counts.dead_letters} dead letters"
    )


def decode(
    file: Path,
    decoder: Annotated[str, typer.Option(help="auto, or one decoder's name.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Say of each record which decoder reads it and what comes out, or what is wrong. Stores nothing."""
    from connectors.decoders.detect import Decoders
    from daemon.stages.ingest import explain

    bad = 0
    for found in explain(file, Decoders(decoder)):
        bad += found.trace is None
        print(json.dumps(_explained(found)) if as_json else _explained_text(found))
    if bad:
        raise typer.Exit(1)


def judge(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Plan and make the judgements that are waiting, then stop."""
    from daemon import drain

    with wired(config) as parts:
        counts = drain.judge(parts)
    print(", ".join(f"{role}: {count}" for role, count in counts.items()) or "no judge is configured")


def curate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Sample and judge candidates where they are missing, and store the preferences that follow."""
    from daemon import drain

    with wired(config) as parts:
        print(f"{drain.curate(parts)} preferences are stored")


def train(
    config: ConfigOption = DEFAULT_CONFIG,
    snapshot: Annotated[
        str | None, typer.Option(help="A snapshot's id or file; default: freeze one now.")
    ] = None,
    actor: ActorOption = "operator",
) -> None:
    """Train one adapter now. Exit 3 while training is halted."""
    from daemon import drain

    with wired(config) as parts:
        outcome = drain.train(parts, snapshot=snapshot, actor=actor)
    print(f"run {outcome.run} {outcome.state}: {outcome.adapter or outcome.reason}")
    if outcome.adapter is None:
        raise typer.Exit(1)


def evaluate(
    config: ConfigOption = DEFAULT_CONFIG,
    adapter: Annotated[str | None, typer.Argument(help="Default: every undecided one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Gather the gate's evidence on published adapters and decide (exit 3 unless all pass)."""
    from daemon import drain

    with wired(config) as parts:
        decisions = drain.evaluate(parts, adapter)
    emit(
        decisions,
        as_json=as_json,
        text=lambda rows: (
            "\n".join(f"{row['adapter']} {row['decision']}: {'; '.join(row['reasons'])}" for row in rows)
            or "no adapter waits for a decision"
        ),
    )
    if any(row["decision"] != "promote" for row in decisions):
        raise typer.Exit(3)


def _explained(found: "Explanation") -> dict[str, Any]:
    trace = None if found.trace is None else found.trace.model_dump(mode="json")
    return {
        "line": found.line,
        "index": found.index,
        "decoder": found.decoder,
        "trace": trace,
        "reason": found.reason,
    }


def _explained_text(found: "Explanation") -> str:
    where = f"line {found.line}" + (f", event {found.index}" if found.index else "")
    if found.trace is None:
        return f"{where}: not decoded: {found.reason}"
    trace = found.trace
    return (
        f"{where}: {found.decoder}: id {trace.id}, {len(trace.messages)} messages, "
        f"{len(trace.output)} in the output, model {trace.model or 'unknown'}"
    )

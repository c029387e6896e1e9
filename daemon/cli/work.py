"""One stage at a time, by hand: ingest, decode, judge, curate, train, evaluate."""

import json
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.context import DEFAULT_CONFIG, ActorOption, ConfigOption, JsonOption, emit, wired


def ingest(file: Path, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Store one JSONL file of agent logs. Doing it again adds nothing."""
    with wired(config) as parts:
        counts = parts.ingest_file(file)
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
    from daemon.stages.explain import explain

    bad = 0
    for found in explain(file, decoder):
        bad += found.error is not None
        print(json.dumps(found.as_dict(), default=str) if as_json else found.line())
    if bad:
        raise typer.Exit(1)


def judge(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Plan and make the judgements that are waiting, then stop."""
    with wired(config) as parts:
        counts = parts.judge_all()
    print(", ".join(f"{role}: {count}" for role, count in counts.items()) or "no judge is configured")


def curate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Sample and judge candidates where they are missing, and store the preferences that follow."""
    with wired(config) as parts:
        print(f"{parts.curate_all()} preferences are stored")


def train(
    config: ConfigOption = DEFAULT_CONFIG,
    snapshot: Annotated[str | None, typer.Option(help="A frozen snapshot; default: freeze one now.")] = None,
    actor: ActorOption = "operator",
) -> None:
    """Train one adapter now. Exit 3 while training is halted."""
    with wired(config) as parts:
        outcome = parts.train(snapshot=snapshot, actor=actor)
    print(f"run {outcome.run_id} {outcome.state}: {outcome.adapter or outcome.reason}")
    if outcome.adapter is None:
        raise typer.Exit(1)


def evaluate(
    config: ConfigOption = DEFAULT_CONFIG,
    adapter: Annotated[str | None, typer.Argument(help="Default: every undecided one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Gather the gate's evidence on published adapters and decide; exit 3 unless all pass. Promotes nothing."""
    with wired(config) as parts:
        decisions = parts.evaluate_all(adapter)
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

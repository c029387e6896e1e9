"""One stage at a time, by hand: ingest, decode, judge, curate, train, evaluate."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.context import DEFAULT_CONFIG, ActorOption, ConfigOption, JsonOption, emit, wired
from policies.records import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daemon.wiring.by_hand import Curated, JudgingResult

REASONS = 4
"""Most reasons that are told."""
MANY_CUT = 0.1
"""Share of answers cut off at which people are told which limit to raise."""


def ingest(
    file: Annotated[Path | None, typer.Argument(help="A JSONL file of agent logs.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    accept: Annotated[
        str | None,
        typer.Option(
            help="A source that stopped: store the records that no decoder knows as dead letters, and go on "
            "behind the offsets that it lost."
        ),
    ] = None,
    actor: ActorOption = "operator",
) -> None:
    """Store one JSONL file of agent logs, and let a stopped source go on. Doing it again adds nothing."""
    from daemon.errors import UsageError
    from daemon.wiring import by_hand

    if file is None and accept is None:
        raise UsageError("name a FILE of agent logs, or a stopped source with --accept SOURCE")
    with wired(config, working=file is not None) as parts:
        if accept is not None:
            by_hand.accept(parts, accept, actor=actor)
            print(
                f"source {accept} goes on; records that no decoder knows become dead letters, and lost "
                "offsets are passed over"
            )
        if file is not None:
            counts = by_hand.ingest(parts, file)
            print(
                f"{file}: {counts.records} records: {counts.stored} stored, {counts.duplicates} duplicates, "
                f"{counts.revisions} revisions, {counts.dead_letters} dead letters, {counts.skipped} skipped"
                + (f", {counts.feedback} feedback" if counts.feedback else "")
                + (f", {counts.spans} spans" if counts.spans else "")
            )


def decode(
    file: Path,
    decoder: Annotated[str, typer.Option(help="auto, or one decoder's name.")] = "auto",
    mapping: Annotated[Path | None, typer.Option(help="A mapping file, which is asked first.")] = None,
    explain_all: Annotated[
        bool, typer.Option("--explain", help="Also what was found in each event, and what is missing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say of each record which decoder reads it and what comes out, or what is wrong. Stores nothing.

    Exit 1 if a record would be a dead letter.
    """
    from connectors.decoders.detect import configured
    from connectors.errors import FatalError
    from daemon.cli import explaining
    from daemon.errors import UsageError
    from daemon.stages.ingest.files import explain

    try:
        decoders = configured(decoder, mapping)
    except FatalError as error:
        raise UsageError(str(error)) from None
    bad = 0
    for found in explain(file, decoders):
        bad += found.reason is not None and not found.skipped
        print(
            json.dumps(explaining.as_json(found, decoders.names, whole=explain_all))
            if as_json
            else explaining.as_text(found, decoders.names, whole=explain_all)
        )
    if bad:
        raise typer.Exit(1)


ReopenOption = Annotated[
    bool,
    typer.Option(
        "--reopen",
        help="First ask again for what ended without a verdict: refused, cut off, not understood, or by "
        "another version of the judge.",
    ),
]


def judge(
    config: ConfigOption = DEFAULT_CONFIG,
    reopen: ReopenOption = False,
    actor: ActorOption = "operator",
    as_json: JsonOption = False,
) -> None:
    """Plan and make the judgements that are due, then stop. Exit 1 if some could not be made, 3 if halted."""
    from daemon.wiring import by_hand

    with wired(config, working=True) as parts:
        parts.latch.check(Scope.JUDGING)
        opened = by_hand.reopen(parts, actor=actor) if reopen else {}
        found = by_hand.judge(parts)
    state = {name: asdict(each) | {"reopened": opened.get(name, 0)} for name, each in found.items()}
    emit(state, as_json=as_json, text=_judged_text)
    for name, each in sorted(found.items()):
        if each.put_back:
            print(f"rlaifd: {name}: {_left(each)}", file=sys.stderr)
    if any(each.put_back for each in found.values()):
        raise typer.Exit(1)


def _judged_text(state: "Mapping[str, Any]") -> str:
    return "\n".join(_judge_text(name, each) for name, each in state.items()) or "no judge is configured"


def _judge_text(name: str, each: "Mapping[str, Any]") -> str:
    reopened = f"{each['reopened']} reopened, " if each["reopened"] else ""
    abstained = sum(each["abstained"].values())
    why = f" ({_reasons(each['abstained'])})" if abstained else ""
    waiting = sum(each["put_back"].values())
    return f"{name}: {reopened}{each['judged']} judged, {abstained} abstained{why}, {waiting} put back"


def _left(each: "JudgingResult") -> str:
    """What waits, and why."""
    waiting = sum(each.put_back.values())
    return f"{waiting} judgements wait: {each.stopped or _reasons(each.put_back)}".removesuffix(": ")


def _reasons(counts: "Mapping[str, int]") -> str:
    """The most frequent reasons, with their numbers where there are several."""
    said = sorted(((count, reason) for reason, count in counts.items() if reason), reverse=True)
    shown = [f"{count}: {reason}" if len(said) > 1 else reason for count, reason in said[:REASONS]]
    more = sum(count for count, _ in said[REASONS:])
    return "; ".join([*shown, *([f"{more} for other reasons"] if more else [])])


def _exit_if_left(judgements: "Mapping[str, tuple[int, str]]") -> None:
    """Says which judgements wait and why, and ends with 1 if any does."""
    for name, (count, error) in sorted(judgements.items()):
        said = f": {error}" if error else ""
        print(f"rlaifd: {name}: {count} judgements wait{said}", file=sys.stderr)
    if judgements:
        raise typer.Exit(1)


def curate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Sample and judge candidates where they are missing, and store the preferences that follow.

    What is there is sampled, however little. Exit 1 if judgements wait.
    """
    from daemon.wiring import by_hand

    with wired(config, working=True) as parts:
        found = by_hand.curate(parts)
        limit = parts.settings.policy.sampling.max_new_tokens
    print("\n".join(_curated_text(found, limit)))
    _exit_if_left(found.judgements)


def _curated_text(found: "Curated", limit: int) -> "Iterator[str]":
    sampled = found.sampled
    if sampled.answers:
        yield f"{sampled.answers} answers are sampled to {sampled.prompts} prompts"
    if sampled.cut:
        hint = "; raise it" if sampled.cut > MANY_CUT * sampled.answers else ""
        yield f"{sampled.cut} of them were cut off at policy.sampling.max_new_tokens ({limit}){hint}"
    if sampled.refused or sampled.set_aside:
        yield (
            f"{sampled.refused} prompts are refused and {sampled.set_aside} set aside, the first because: "
            f"{sampled.reason}"
        )
    if not sampled.did:
        yield f"nothing is sampled: {found.sampling_waits}"
    yield f"{found.preferences} preferences are stored"


def train(
    config: ConfigOption = DEFAULT_CONFIG,
    snapshot: Annotated[
        str | None, typer.Option(help="A snapshot's id or file; default: freeze one now.")
    ] = None,
    *,
    method: Annotated[
        str | None,
        typer.Option(help="dpo, reward, ppo, sft or kto; default: the configuration's (first) recipe."),
    ] = None,
    actor: ActorOption = "operator",
    plan: Annotated[
        bool, typer.Option("--plan", help="Only show what would be done. Exit 1 if it does not fit.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train one adapter, or one reward model, now. Exit 3 while training is halted."""
    from daemon.wiring import by_hand

    if plan:
        _plan(config, snapshot, method, as_json=as_json)
        return
    say = None if as_json else (lambda decided: print(f"plan: {decided}", flush=True))
    with wired(config, working=True) as parts:
        outcome = by_hand.train(parts, snapshot=snapshot, actor=actor, method=method, on_plan=say)
    emit(
        {name: getattr(outcome, name) for name in ("run", "state", "reason", "adapter", "reward_model")},
        as_json=as_json,
        text=lambda ended: f"run {ended['run']} {ended['state']}: {ended['adapter'] or ended['reason']}",
    )
    if outcome.adapter is None and outcome.reward_model is None:
        raise typer.Exit(1)


def rewards(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the reward models, and decide on those that are held by the labels there are."""
    from daemon.wiring import by_hand

    with wired(config, working=True) as parts:
        found = by_hand.rewards(parts)
    emit(
        found,
        as_json=as_json,
        text=lambda rows: (
            "\n".join(f"{row['name']} {row['state']}: {'; '.join(row['reasons'])}" for row in rows)
            or "no reward model is published: `rlaifd train --method reward`"
        ),
    )


def _plan(config: Path, snapshot: str | None, method: str | None, *, as_json: bool) -> None:
    from daemon.cli import outlook
    from daemon.wiring import by_hand

    with wired(config, working=True) as parts:
        found = by_hand.plan(parts, snapshot=snapshot, method=method)
    emit(outlook.state(found), as_json=as_json, text=lambda _: outlook.text(found))
    if found.plan.refusal:
        raise typer.Exit(1)


def evaluate(
    config: ConfigOption = DEFAULT_CONFIG,
    adapter: Annotated[str | None, typer.Argument(help="Default: every undecided one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Gather the gate's evidence on published adapters and decide (exit 3 unless all pass)."""
    from daemon.wiring import by_hand

    with wired(config, working=True) as parts:
        decisions = by_hand.evaluate(parts, adapter)
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

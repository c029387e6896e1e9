"""Where an adapter comes from, and what became of a trace."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.cli.context import DEFAULT_CONFIG, ConfigOption, JsonOption, emit, wired

SHOWN = 10
"""Pairs that a person is shown; scripts get all."""


def trace(
    event: Annotated[str, typer.Argument(metavar="ID", help="The event's id.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what became of a trace: answers, verdicts and labels, and the adapters that learned from it."""
    from daemon.errors import UsageError
    from daemon.store.lineage import of_trace

    with wired(config) as parts:
        configured = {source.name for source in parts.settings.sources}
        found = parts.store.read(lambda c: of_trace(c, event, sources=configured))
    if not found:
        raise UsageError(f"no trace {event!r} is stored")
    emit(found, as_json=as_json, text=lambda rows: "\n\n".join("\n".join(_trace(row)) for row in rows))


def export(
    snapshot: Annotated[str, typer.Argument(help="The snapshot's id, or its first eight digits or more.")],
    parquet: Annotated[Path, typer.Option("--parquet", metavar="DIR", help="A new or empty directory.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Write a snapshot as a Parquet file with a data card. Fill in the card's open fields to pass it on."""
    from daemon.stages.curate.export import export as write

    with wired(config) as parts:
        found = write(parts.store, parts.settings, snapshot, parquet)
    emit(
        asdict(found),
        as_json=as_json,
        text=lambda state: (
            f"{state['pairs']} pairs of snapshot {state['snapshot'][:12]} in {state['directory']}"
        ),
    )


def text_of(found: Mapping[str, Any]) -> str:
    """An adapter's lineage as lines."""
    return "\n".join(_adapter(found))


def _adapter(found: Mapping[str, Any]) -> Iterator[str]:
    ancestors = " < ".join(found["ancestors"]) or "the base model"
    yield f"adapter    {found['name']} of {found['base_model']}, gate: {found['decision'] or 'undecided'}"
    yield f"from       {ancestors}"
    run, snapshot = found["run"], found["snapshot"]
    if run is None:
        yield "run        none here: it was not trained by this daemon"
        return
    yield f"run        {run['id']} {run['state']}, {run['recipe'].get('method')}, {_at(run['started_at'])}"
    if snapshot is None:
        return
    unit = next((unit for unit in ("answers", "prompts") if found[unit]), "pairs")
    yield f"snapshot   {snapshot['id']}, {snapshot['pairs']} {unit}, {_at(snapshot['created_at'])}"
    shown = {"answers": _answers, "prompts": _prompts, "pairs": _pairs}
    if snapshot["agent_versions"]:
        versions = (f"{count} {name or 'unknown'}" for name, count in snapshot["agent_versions"].items())
        yield f"agent      {', '.join(versions)}"
    yield from shown[unit](found[unit])


def _prompts(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    known = [prompt for prompt in found if "event_id" in prompt]
    yield f"traces     {_counted(prompt['source'] for prompt in known)}"
    for prompt in known[:SHOWN]:
        yield f"prompt     of {prompt['source']}/{prompt['event_id']}"
    yield from _more(found)


def _answers(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    known = [answer for answer in found if "event_id" in answer]
    yield f"traces     {_counted(answer['source'] for answer in known)}"
    yield f"answers    {_counted(_origin(answer) for answer in known)}"
    for answer in known[:SHOWN]:
        verdicts = "; ".join(map(_verdict, answer["verdicts"])) or "no verdict"
        yield f"answer     {answer['id']} of {answer['source']}/{answer['event_id']}: {verdicts}"
    yield from _more(found)


def _pairs(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    pairs = [pair for pair in found if "trace" in pair]
    yield f"traces     {_counted(pair['source'] for pair in pairs)}"
    yield f"people     {len({pair['contributor'] for pair in pairs})} contributors"
    answers = [pair[side] for pair in pairs for side in ("chosen", "rejected") if pair[side]]
    yield f"answers    {_counted(_origin(answer) for answer in answers)}"
    verdicts = [verdict for pair in pairs for verdict in pair["verdicts"]]
    yield f"verdicts   {_counted(f'''{each['judge']} {each['version'][:12]}''' for each in verdicts)}"
    yield f"labels     {sum(len(pair['labels']) for pair in pairs)} on these answers"
    for pair in pairs[:SHOWN]:
        yield f"pair       {_pair(pair)}"
    yield from _more(found)


def _more(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(found) > SHOWN:
        yield f"           and {len(found) - SHOWN} more: --json has them all"


def _pair(pair: Mapping[str, Any]) -> str:
    rewards = {each["candidate_id"]: each["reward"] for each in pair["verdicts"]}
    sides = [
        f"{_origin(pair[side])} answer {pair[side]['id']} ({_points(rewards.get(pair[side]['id']))})"
        for side in ("chosen", "rejected")
        if pair[side]
    ]
    return f"{pair['preference']} of {pair['source']}/{pair['trace']}: {' over '.join(sides)}"


def _trace(found: Mapping[str, Any]) -> Iterator[str]:
    revision = f", revision {found['revision']}" if found["revision"] else ""
    yield f"trace      {found['source']}/{found['event_id']}{revision}, {found['split']}, {_at(found['ts'])}"
    yield from _snapshots(found["snapshots"], "prompts")
    for answer in found["answers"]:
        yield f"answer     {answer['id']} {_origin(answer)}"
        yield from _snapshots(answer["snapshots"], "answers")
    for verdict in found["verdicts"]:
        yield f"verdict    {verdict['id']} {_verdict(verdict)}"
    for label in found["labels"]:
        between = f"{label['candidate_id']} and {label['other_id']}"
        yield f"label      {label['reviewer']} between {between}: {label['choice']}"
        yield from _snapshots(label["snapshots"], "pairs")
    for preference in found["preferences"]:
        yield f"pair       {preference['id']}: {preference['chosen_id']} over {preference['rejected_id']}"
        yield from _snapshots(preference["snapshots"], "pairs")


def _snapshots(found: Sequence[Mapping[str, Any]], unit: str) -> Iterator[str]:
    for snapshot in found:
        yield f"snapshot   {snapshot['id']}, {snapshot['pairs']} {unit}"
        for run in snapshot["runs"]:
            made = run["adapter"] or run["reason"] or "no adapter"
            decided = f", gate: {run['decision']}" if run["decision"] else ""
            yield f"adapter    {made} by run {run['id']} {run['state']}{decided}"


def _verdict(verdict: Mapping[str, Any]) -> str:
    about = " and ".join(str(verdict[side]) for side in ("candidate_id", "other_id") if verdict[side])
    if verdict["abstention"]:
        said = f"abstained ({verdict['abstention']})"
    elif verdict["kind"] == "score":
        said = _points(verdict["reward"])
    else:
        said = verdict["choice"] or ("flipped" if verdict["flipped"] else "undecided")
    return f"{verdict['judge']} {verdict['version'][:12]} on {about}: {said}"


def _origin(answer: Mapping[str, Any]) -> str:
    return (
        f"{answer['origin']} {answer['adapter'] or 'base'}"
        if answer["origin"] == "sampled"
        else answer["origin"]
    )


def _counted(names: Iterator[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(Counter(names).items())) or "none"


def _points(reward: float | None) -> str:
    return "unscored" if reward is None else f"{reward:.1f}"


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))

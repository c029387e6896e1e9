"""What is served: adapters, promote, rollback."""

import time
from typing import Annotated, Any

import typer

from daemon.cli.context import (
    DEFAULT_CONFIG,
    ActorOption,
    ConfigOption,
    JsonOption,
    ReasonOption,
    cut_off,
    emit,
    wired,
)
from daemon.errors import UsageError


def adapters(
    config: ConfigOption = DEFAULT_CONFIG,
    name: Annotated[str | None, typer.Argument(help="One adapter; default: all.")] = None,
    lineage: Annotated[
        bool, typer.Option("--lineage", help="Its run, snapshot, pairs, traces, verdicts and labels.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the published adapters with their gate decisions, or show where one comes from."""
    from daemon.cli.lineage import text_of
    from daemon.status import listing

    if lineage and name is None:
        raise UsageError("--lineage is of one adapter: name it")
    with wired(config) as parts:
        if name is not None and lineage:
            emit(listing.lineage(parts.store, name), as_json=as_json, text=text_of)
            return
        emit(listing.adapters(parts.store, name), as_json=as_json, text=_adapters_text)


def promote(
    adapter: str,
    config: ConfigOption = DEFAULT_CONFIG,
    reason: ReasonOption = "promoted by hand",
    actor: ActorOption = "operator",
) -> None:
    """Name an adapter in the rollout file, if the gate passed it and it verifies."""
    with wired(config) as parts:
        parts.rollout.promote(adapter, actor=actor, reason=reason)
        print(_in_force(parts.rollout.in_force()))


def rollback(
    config: ConfigOption = DEFAULT_CONFIG,
    to: Annotated[
        str | None, typer.Option(help="The adapter to go back to; default: the previous one.")
    ] = None,
    reason: ReasonOption = "rolled back by hand",
    actor: ActorOption = "operator",
) -> None:
    """Point back to the previous adapter and halt promotion. Works during a halt."""
    with wired(config) as parts:
        parts.rollout.rollback(actor=actor, reason=reason, to=to)
        print(_in_force(parts.rollout.in_force()))


def readmit(
    adapter: str,
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
    actor: ActorOption = "operator",
) -> None:
    """Take an adapter out of quarantine. It serves when it is promoted again, and the gate still counts."""
    with wired(config) as parts:
        parts.rollout.readmit(adapter, actor=actor, reason=reason)
    print(f"{adapter} is quarantined no longer; `rlaifd promote {adapter}` names it")


def reconcile(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Bring what rollout.yaml names into force, once; exit 3 if it is refused, 1 if it is not served yet."""
    with wired(config) as parts:
        found = parts.rollout.reconcile()
    state: dict[str, Any] = {
        "in_sync": found.in_sync,
        "stable": found.stable,
        "epoch": found.epoch,
        "conditions": [str(condition) for condition in found.conditions],
    }
    emit(state, as_json=as_json, text=lambda _: "\n".join([_in_force(found), *state["conditions"]]))
    kinds = {condition.kind for condition in found.conditions}
    if kinds & {"refused", "contradicted", "quarantined"}:
        raise typer.Exit(3)
    if kinds:
        raise typer.Exit(2 if "file_invalid" in kinds else 1)


def _in_force(state: Any) -> str:
    return f"in force: {state.stable or 'base model'} (epoch {state.epoch})"


def _adapters_text(found: list[dict[str, Any]]) -> str:
    if not found:
        return "no adapters yet"
    return "\n".join(
        f"{row['name']}  {time.strftime('%Y-%m-%d %H:%M', time.gmtime(row['created_at']))}  "
        f"{'in force' if row['in_force'] else row['decision'] or 'undecided'}"
        f"{'  quarantined: ' + row['quarantine_reason'] if row['quarantine_reason'] else ''}"
        f"{'' if row['base_digest'] else '  base model told by its name alone'}"
        f"{'  ' + '; '.join(row['reasons']) if row['reasons'] else ''}"
        f"{'  ' + cut if (cut := cut_off(row['cut_off'])) else ''}"
        for row in found
    )

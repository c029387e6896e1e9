"""Stopping and going on by hand, and the record of it."""

from typing import Any

import typer

from daemon.cli.context import (
    DEFAULT_CONFIG,
    ActorOption,
    ConfigOption,
    JsonOption,
    ReasonOption,
    emit,
    wired,
)
from policies.records import Scope
from policies.states import HaltSource

ledger = typer.Typer(help="The hash-chained record of every state change.", no_args_is_help=True)


def halt(
    scope: Scope, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG, actor: ActorOption = "operator"
) -> None:
    """Stop a scope: judging, training or promotion. It outlives restarts."""
    with wired(config) as parts:
        parts.latch.halt(scope, reason=reason, source=HaltSource.OPERATOR, actor=actor)
    print(f"{scope} is halted")


def resume(
    scope: Scope, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG, actor: ActorOption = "operator"
) -> None:
    """Let a halted scope go on."""
    with wired(config) as parts:
        count = parts.latch.resume(scope, actor=actor, reason=reason)
    print(f"{scope}: {count} halt(s) resumed" if count else f"{scope} was not halted")


@ledger.command()
def verify(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Recompute the chain: exit 1 at the first broken link."""
    from dataclasses import asdict

    from daemon.store.ledger import verify as verify_chain

    with wired(config) as parts:
        report = asdict(parts.store.read(verify_chain))
    emit(report, as_json=as_json, text=_report_text)
    if report["broken_at"] is not None:
        raise typer.Exit(1)


def _report_text(report: dict[str, Any]) -> str:
    if report["broken_at"] is not None:
        return f"the ledger is broken at entry {report['broken_at']}: {report['reason']}"
    return f"{report['entries']} entries, the chain holds; head {report['head']}"

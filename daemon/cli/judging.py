"""`rlaifd judge`: alone it judges what is open; `evaluate` measures judges by their stored texts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.cli import work
from daemon.cli.context import DEFAULT_CONFIG, ActorOption, ConfigOption, JsonOption

app = typer.Typer()


@app.callback(invoke_without_command=True)
def judge(
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    reopen: work.ReopenOption = False,
    actor: ActorOption = "operator",
    as_json: JsonOption = False,
) -> None:
    """Plan and make the judgements that are due, then stop. Exit 1 if some could not be made, 3 if halted."""
    if context.invoked_subcommand is None:
        work.judge(config, reopen=reopen, actor=actor, as_json=as_json)
    elif reopen or as_json:
        from daemon.errors import UsageError

        option, part = "--reopen" if reopen else "--json", context.invoked_subcommand
        raise UsageError(f"{option} before {part} is of judge alone: leave it out, or write it after {part}")


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="A directory of items, answers and judges' texts.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a judge and line.")] = False,
) -> None:
    """Measure judges against people by their stored texts. Asks no model and needs no configuration."""
    from daemon.replay.evaluate import evaluated

    rows = evaluated(data)
    if as_json:
        for row in rows:
            print(json.dumps(row))
    else:
        _show(rows)


def _show(rows: list[dict[str, Any]]) -> None:
    """Figures down, judges across. No figure's name is cut, however narrow the terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("figure", no_wrap=True, min_width=max(map(len, rows[0])) - len("_interval"))
    for row in rows:
        table.add_column(escape(row["judge"]), overflow="fold")
    for name in rows[0]:
        if name != "judge" and not name.endswith("_interval"):
            table.add_row(name, *(_cell(row, name) for row in rows))
    Console().print(table)


def _cell(row: Mapping[str, Any], name: str) -> str:
    value, interval = row[name], row.get(f"{name}_interval")
    if value is None or interval is None:
        return "-" if value is None else str(value)
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"

"""People check the judges: pairs out, labels in."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.context import DEFAULT_CONFIG, ConfigOption, wired

app = typer.Typer(help="Pairs for people to compare, and their labels.", no_args_is_help=True)


@app.command(name="export")
def export_pairs(
    file: Path,
    config: ConfigOption = DEFAULT_CONFIG,
    reviewer: Annotated[
        str | None, typer.Option(help="For whom: leaves out what this one labelled, and nothing else.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="At most so many pairs.")] = None,
) -> None:
    """Write the pairs that nobody labelled, one JSON object a line, answers in random order; say what more is
    missing.
    """
    from daemon.status.readiness import of_labels, stock_of

    with wired(config) as parts:
        count = parts.review.export(file, reviewer=reviewer, limit=limit)
        found = parts.store.read(lambda c: stock_of(c, parts.settings, parts.named, now=parts.clock.now()))
        lacking = of_labels(found, parts.settings, parts.named, exported=count)
    print("\n".join([f"wrote {count} pairs to {file}", *lacking]))


@app.command(name="import")
def import_labels(
    file: Path,
    reviewer: Annotated[str, typer.Option(help="Whose labels they are.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Read labels ({"pair", "choice": "1" | "2" | "tie"} a line); all of them or none."""
    with wired(config) as parts:
        loaded = parts.review.load(file, reviewer=reviewer)
    counts = loaded.imported
    waiting = f"; {loaded.open} lines have no choice yet" if loaded.open else ""
    print(
        f"imported {loaded.labels} labels of {loaded.reviewer}: {counts.new} new, {counts.changed} changed, "
        f"{counts.unchanged} known already{waiting}"
    )

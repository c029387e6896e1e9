"""What the commands share: the configuration option, the wired parts, and how a state is printed."""

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from daemon.wiring.parts import Wiring

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="RLAIFD_CONFIG", help="The configuration file.", show_default=True),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _said(value: str) -> str:
    if not value.strip():
        raise typer.BadParameter("it may not be empty: it goes into the ledger")
    return value


ReasonOption = Annotated[
    str, typer.Option("--reason", "-r", callback=_said, help="Why; it goes into the ledger.")
]
ActorOption = Annotated[
    str,
    typer.Option(
        "--actor", envvar="USER", callback=_said, help="Who; it goes into the ledger.", show_default=False
    ),
]
DEFAULT_CONFIG = Path("rlaifd.yaml")
USUAL = (700, 10, 10)
"""Python's own thresholds for its garbage collector."""


@contextmanager
def wired(config: Path, *, ready: bool = True, working: bool = False) -> "Iterator[Wiring]":
    """The parts, built from the configuration; the store is migrated when new and verified otherwise.

    `working`: for the daemon's own work, which does not begin with a setting that `rlaifd check` refuses. A
    base model that cannot be loaded is told by the work that loads it: the rest goes on without.
    """
    from daemon import log
    from daemon.config.settings import load
    from daemon.wiring.parts import Wiring

    settings = load(config)
    log.configure(settings.log.level, settings.log.format)
    if working:
        from daemon.wiring.check import startable

        startable(settings)
    parts = Wiring(settings)
    try:
        if ready:
            parts.prepare_store()
        if working and settings.rollout.lead:
            from daemon.config import in_force

            in_force.record(parts.store, settings, actor=parts.owner, now=parts.clock.now())
        if working:
            collect_as_usual()
        yield parts
    finally:
        parts.close()


def collect_as_usual() -> None:
    """For long work: garbage is looked for at Python's usual pace, but not among what was imported so far."""
    gc.freeze()
    gc.set_threshold(*USUAL)


def emit(state: Any, *, as_json: bool, text: Callable[[Any], str]) -> None:
    """Prints a state, for a script or for a person."""
    print(json.dumps(state, indent=2, sort_keys=True, default=str) if as_json else text(state))


def cut_off(counts: dict[str, int] | None) -> str:
    """How many of a gate attempt's answers were cut off, or "" where none was."""
    if counts is None or not (counts["candidate"] or counts["stable"]):
        return ""
    of = counts["answered"]
    return (
        f"cut off: {counts['candidate']} of {of} answers, {counts['stable']} of {of} of the stable policy's"
    )

"""Running the daemon and looking at it: run, demo, init, check, status, db upgrade."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from daemon.cli.context import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    collect_as_usual,
    cut_off,
    emit,
    wired,
)

if TYPE_CHECKING:
    from daemon.wiring.parts import Wiring

db = typer.Typer(help="The store's schema.", no_args_is_help=True)


def run(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run the daemon: ingest, judge, curate, train, gate, roll out, until it is told to stop."""
    from daemon.wiring.service import service

    with wired(config, working=True) as parts:
        code = service(parts).run()
    raise typer.Exit(code)


def demo(
    seed: Annotated[int, typer.Option(help="Seeds everything.")] = 0,
    kafka: Annotated[str | None, typer.Option(help="host:port of a Kafka to send the logs through.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="A real model for small and large judge; needs OPENAI_API_KEY.")
    ] = None,
    directory: Annotated[Path, typer.Option(help="Where it works; removed first.")] = Path(".rlaifd/demo"),
    method: Annotated[
        Literal["dpo", "ppo"], typer.Option(help="How it learns; ppo: against a reward model of its own.")
    ] = "dpo",
) -> None:
    """Watch a tiny agent get better from its own logs, and two bad adapters refused."""
    from daemon.demo import play

    collect_as_usual()
    done = play.main(seed=seed, kafka=kafka, judge=judge, directory=directory, method=method)
    raise typer.Exit(done)


def init(
    directory: Annotated[Path, typer.Argument(help="Where the files are written.")] = Path(),
) -> None:
    """Write a first rlaifd.yaml and rollout.yaml to edit."""
    from daemon.cli.templates import write

    for path in write(directory):
        print(f"wrote {path}")


def check(
    config: ConfigOption = DEFAULT_CONFIG,
    live: Annotated[
        bool, typer.Option("--live", help="Try broker, database, judges (a paid call each) and target too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration and the files it names, without starting anything."""
    from daemon.status.readiness import lines
    from daemon.wiring.check import check as run_checks

    findings = run_checks(config)
    if live:
        from daemon.config.settings import load
        from daemon.wiring.live import tried

        findings["live"] = [asdict(each) for each in tried(load(config))]
        findings["ok"] = all(each["ok"] for each in findings["live"])
    found = findings.get("live", [])
    emit(
        findings,
        as_json=as_json,
        text=lambda state: "\n".join(
            [
                f"{config}: {'ok' if state['ok'] else 'FAILED'}",
                *state["notes"],
                *map(_tried, found),
                *lines(state),
            ]
        ),
    )
    if not findings["ok"]:
        raise typer.Exit(1)


def _tried(found: dict[str, Any]) -> str:
    return f"live         {found['key']}: {'' if found['ok'] else 'FAILED: '}{found['said']}"


def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show what it needs from you, why nothing happens where nothing does, and what is in force."""
    with wired(config) as parts:
        emit(_status(parts), as_json=as_json, text=_status_text)


@db.command()
def upgrade(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Bring the store's schema to this build's."""
    from daemon.store.schema import upgrade as upgrade_schema

    with wired(config, ready=False) as parts:
        upgrade_schema(parts.store)
    print("the store's schema is current")


def _status(parts: "Wiring") -> dict[str, Any]:
    """The state as the store has it, with what the running daemon says of itself."""
    from daemon.errors import ConfigError
    from daemon.status.answering import ask

    settings = parts.settings
    try:
        token = parts.alert_token
    except ConfigError:  # whoever may read the store need not be able to read the token
        token = None
    daemon = dict(ask(settings.web, token, settings.state_dir))
    told = daemon.pop("conditions")
    state = parts.status(daemon)
    if not daemon["runs"]:
        state["needs"].insert(0, daemon["said"])
    state["conditions"] += [line for line in told if line not in state["conditions"]]
    return state


def _status_text(state: dict[str, Any]) -> str:
    from daemon.status.readiness import lines as readiness

    rollout = state["rollout"]
    lines = [
        *(f"needs        {line}" for line in state["needs"] or ["nothing from you"]),
        *(f"condition    {line}" for line in state["conditions"]),
        *(f"waits        {row['part']}: {row['waits']}" for row in state["waits"]),
        f"daemon       {state['daemon'].get('said', 'not asked')}",
        f"in force     {rollout['stable'] or 'base model'} (epoch {rollout['epoch']})",
        f"halts        {_halts(state['halts'])}",
        f"traces       {state['traces']} ({state['dead_letters']} dead letters)",
        *(f"judge {name:<7}{_verdicts(counts)}" for name, counts in sorted(state["verdicts"].items())),
        *(_abstaining(name, judge) for name, judge in sorted(state["judges"].items()) if judge["abstained"]),
        *(
            f"spent today  {_named(name, judge)}: {_money(judge)}"
            for name, judge in sorted(state["judges"].items())
        ),
        *(
            f"alignment    {_named(name, found)}: {_alignment(found)}"
            for name, found in sorted(state["alignment"].items())
        ),
        f"labels       {state['labels']}",
        *(f"reviewer     {name}: {_agreement(found)}" for name, found in state["reviewers"].items()),
        f"preferences  {state['preferences']}",
        f"training     {_training(state['training'])}",
        *_snapshot(state["snapshot"]),
        *(f"run          {run['id']} {run['state']} {run['reason']}".rstrip() for run in state["runs"]),
        *(_evaluation(found) for found in state["evaluations"]),
        *readiness(state),
    ]
    return "\n".join(lines)


def _halts(halts: list[dict[str, Any]]) -> str:
    if not halts:
        return "none"
    return "; ".join(
        f"{halt['scope']} ({halt['source']} {_ago(halt['created_at'])}: {halt['reason']})" for halt in halts
    )


def _verdicts(counts: dict[str, Any]) -> str:
    mean = counts["mean_reward"]
    reward = "" if mean is None else f", mean reward {mean:.2f}"
    return f"{counts['verdicts']} verdicts, {counts['abstentions']} abstentions{reward}"


def _named(name: str, judge: dict[str, Any]) -> str:
    """The judge, with its role where its name does not say it."""
    return name if name == judge["role"] else f"{name} ({judge['role']})"


def _abstaining(name: str, judge: dict[str, Any]) -> str:
    return f"abstentions  {name}: {judge['abstained']} verdicts, the last: {judge['abstention']}"


def _money(judge: dict[str, Any]) -> str:
    budget = judge["budget_usd"]
    return f"{judge['spent_usd']:.2f} US dollars" + ("" if budget is None else f" of {budget:.2f}")


def _agreement(found: dict[str, Any]) -> str:
    with_whom = [f"{value} as the {name}" for name, value in found.items() if name != "labels" and value]
    return ", ".join([f"{found['labels']} labels", *with_whom])


def _alignment(found: dict[str, Any]) -> str:
    if found["ratio"] is None:
        return f"unknown, {found['labels']} labelled pairs"
    return (
        f"{found['ratio']:.3f} [{found['lower']:.3f}, {found['upper']:.3f}] "
        f"on {found['labels']} labelled pairs, coverage {found['coverage']:.2f}"
    )


def _evaluation(found: dict[str, Any]) -> str:
    decision = found["decision"] or found["state"]
    line = f"gate         {found['adapter']} {decision}: {'; '.join(found['reasons'])}".rstrip(": ")
    cut = cut_off(found["cut_off"])
    return f"{line} ({cut})" if cut else line


def _training(found: dict[str, Any]) -> str:
    return f"is due: {found['reason']}" if found["due"] else f"waits: {found['reason']}"


def _snapshot(found: dict[str, Any] | None) -> list[str]:
    """The newest snapshot, with what is not in it."""
    if found is None:
        return []
    from policies.selection import told

    left_out = told(found["left_out"])
    more = f"; left out: {left_out}" if left_out else ""
    return [f"snapshot     {found['id'][:12]}, {found['pairs']} pairs{more}"]


def _ago(at: float) -> str:
    seconds = max(0, int(time.time() - at))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"

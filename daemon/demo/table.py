"""The table at the end of the demo."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from daemon.demo.outcome import DemoOutcome, mean


def show(outcome: DemoOutcome, directory: Path, console: Console) -> None:
    """Prints what happened, and where the report is."""
    console.print()
    console.print(_scores(outcome))
    console.print(_gate(outcome))
    for model in outcome.reward_models:
        console.print(
            f"{model.name} {model.decision}: {'; '.join(model.reasons)}", highlight=False, markup=False
        )
    for attempt in outcome.attempts:
        for reason in attempt.reasons:
            console.print(f"{attempt.adapter}: {reason}", highlight=False, markup=False)
    console.print()
    console.print(_alignment(outcome))
    rollback = "served the base model again" if outcome.rolled_back else "not shown"
    console.print(f"rollback by rollout.yaml: {rollback}", highlight=False)
    console.print(f"simulated: {', '.join(outcome.simulated)}", highlight=False)
    console.print(f"seed {outcome.seed}, {outcome.seconds:.0f} s", highlight=False)
    console.print(f"report: {directory / 'report.html'}", highlight=False, soft_wrap=True)


def _scores(outcome: DemoOutcome) -> Table:
    table = Table(title="Live quality", title_justify="left")
    for name in ("", "before", "after", "change"):
        table.add_column(name, justify="left" if not name else "right")
    rows = (
        ("customer score, 0-1 (no judge reads it)", outcome.customers_before, outcome.customers_after),
        ("small judge's reward, 0-10", outcome.rewards_before, outcome.rewards_after),
    )
    for name, before, after in rows:
        first, second = mean(before), mean(after)
        change = f"{second / first:.2f} times" if first and second is not None else "-"
        table.add_row(name, _number(first, 3), _number(second, 3), change)
    return table


def _gate(outcome: DemoOutcome) -> Table:
    table = Table(title="The gate (KL in nats a sequence, entropy in nats a token)", title_justify="left")
    for name in ("adapter", "decision", "win rate", "KL", "entropy"):
        table.add_column(name, no_wrap=True)
    for attempt in outcome.attempts:
        table.add_row(
            attempt.adapter,
            attempt.decision,
            _number(attempt.win_rate, 2),
            _number(attempt.kl_sequence, 1),
            _number(attempt.entropy, 2),
        )
    return table


def _alignment(outcome: DemoOutcome) -> Table:
    title = f"Agreement of the reviewer with the judges ({outcome.labels_decided} decided pairs)"
    table = Table(title=title, title_justify="left")
    for name in ("judge", "alignment", "lower bound", "pairs", "coverage", "longer answer right"):
        table.add_column(name, justify="left" if name == "judge" else "right")
    for role, found in outcome.alignment.items():
        table.add_row(
            role,
            _number(found["ratio"], 3),
            _number(found["lower"], 3),
            str(found["labels"]),
            _number(found["coverage"], 2),
            _number(found["length_baseline"], 2),
        )
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

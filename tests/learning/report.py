"""What came of it: the held-out gain with its bound, a table, answers before and after, summary.json."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from daemon.demo.watcher import Attempt
from policies.statistics.intervals import quantile
from tests.learning import strawmen
from tests.learning.checker import Checked, check
from tests.learning.task import Request

CONFIDENCE: Final = 0.95
SHOWN: Final = 5
DEMANDS: Final = tuple(Checked.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: answers and scores of the same held-out requests by the base and by the adapter."""

    method: str
    requests: tuple[Request, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    scores_before: tuple[float, ...]
    scores_after: tuple[float, ...]
    attempt: Attempt
    recipe: dict[str, Any]
    peak_mb: float
    seconds: float

    @property
    def lower_bound(self) -> float:
        """The one-sided 95 % lower bound of the mean paired difference."""
        return paired_lower(self.scores_before, self.scores_after)

    @property
    def failure(self) -> str | None:
        """Why this is no success; None: the adapter surely beats the base, and every strawman."""
        if self.lower_bound <= 0:
            return f"the lower bound of the gain is {self.lower_bound:+.3f}, not above 0"
        name, score = strawmen.best(self.requests)
        if fmean(self.scores_after) <= score:
            return f"always answering {name} scores {score:.3f}, the adapter {fmean(self.scores_after):.3f}"
        return None

    def summary(self) -> dict[str, Any]:
        """The object that scripts read."""
        return {
            "method": self.method,
            "score_before": fmean(self.scores_before),
            "score_after": fmean(self.scores_after),
            "lower_bound": self.lower_bound,
            "prompts": len(self.requests),
            "kl_nats": self.attempt.kl_sequence,
            "seconds": round(self.seconds, 1),
            "peak_mb": round(self.peak_mb, 1),
            "recipe": self.recipe,
        }


def paired_lower(before: tuple[float, ...], after: tuple[float, ...]) -> float:
    """The lower bound of the mean of after - before, by the normal approximation: for hundreds of pairs."""
    differences = [one - other for one, other in zip(after, before, strict=True)]
    error = stdev(differences) / math.sqrt(len(differences))
    return fmean(differences) - quantile(CONFIDENCE, 1) * error


def write(path: Path, outcome: Outcome) -> None:
    """Writes summary.json."""
    path.write_text(json.dumps(outcome.summary(), indent=2) + "\n", encoding="utf-8")


def show(console: Console, outcome: Outcome) -> None:
    """The table and the first answers."""
    summary = outcome.summary()
    table = Table()
    for name in ("", "base", "promoted"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("score, 0 to 1", f"{summary['score_before']:.3f}", f"{summary['score_after']:.3f}")
    for demand in DEMANDS:
        met = [_share(demand, outcome.requests, answers) for answers in (outcome.before, outcome.after)]
        table.add_row(demand.replace("_", " "), *(f"{share:.0%}" for share in met))
    console.print(table)
    gained = summary["score_after"] - summary["score_before"]
    name, straw = strawmen.best(outcome.requests)
    for line in (
        f"{len(outcome.requests)} held-out requests, answers sampled at temperature 1 (those below too)",
        f"best policy that answers nothing in particular: {name}, {straw:.3f}",
        f"difference {gained:+.3f}, one-sided {CONFIDENCE:.0%} lower bound {outcome.lower_bound:+.3f}",
        f"KL {outcome.attempt.kl_sequence} nats per answer, win rate at the gate {outcome.attempt.win_rate}",
        f"training's peak {outcome.peak_mb:,.0f} MB; {outcome.seconds / 60:.1f} minutes in all",
        f"recipe {json.dumps(outcome.recipe)}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for request, base, promoted in list(zip(outcome.requests, outcome.before, outcome.after, strict=True))[
        :SHOWN
    ]:
        said = f"\ncustomer  {request.text}\nbase      {base!r}\npromoted  {promoted!r}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)


def _share(demand: str, requests: tuple[Request, ...], answers: tuple[str, ...]) -> float:
    pairs = zip(requests, answers, strict=True)
    return fmean(getattr(check(request, answer), demand) for request, answer in pairs)

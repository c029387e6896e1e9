"""What the play came to: the figures, whether all of it happened, and the summary for scripts."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from daemon.demo.settings import Method
from daemon.demo.watcher import Attempt, Ranker

TWICE: Final = 2.0
"""The customer score after must be at least so many times that before."""
MIN_LABELS: Final = 150


@dataclass(slots=True)
class DemoOutcome:
    """Filled as the play goes on. Scores are of single answers: customers' 0-1, judges' 0-10."""

    seed: int
    simulated: tuple[str, ...]
    customers_before: list[float] = field(default_factory=list)
    customers_after: list[float] = field(default_factory=list)
    rewards_before: list[float] = field(default_factory=list)
    rewards_after: list[float] = field(default_factory=list)
    promoted: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    rolled_back: bool = False
    customers_rolled_back: list[float] = field(default_factory=list)
    labels_decided: int = 0
    alignment: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    failure: str | None = None
    method: Method = "dpo"
    reward_models: list[Ranker] = field(default_factory=list)

    @property
    def released(self) -> Ranker | None:
        """The reward model that PPO learned from."""
        return next((each for each in self.reward_models if each.decision == "release"), None)

    @property
    def refused(self) -> list[Attempt]:
        """The bad adapters as the gate decided on them."""
        return [attempt for attempt in self.attempts if attempt.adapter != self.promoted]

    def missing(self) -> list[str]:
        """What should have happened and did not, one line each; empty when all went well."""
        found = [self.failure] if self.failure else []
        before, after = mean(self.customers_before), mean(self.customers_after)
        if before is None or after is None or after < TWICE * before:
            found.append(f"the customer score did not double: {_shown(before)} before, {_shown(after)} after")
        if self.promoted is None:
            found.append("no adapter was promoted")
        if self.labels_decided < MIN_LABELS:
            found.append(f"{self.labels_decided} decided labels; {MIN_LABELS} are wanted")
        if self.method == "ppo" and self.released is None:
            found += [
                f"{each.name}: {each.decision}: {'; '.join(each.reasons)}" for each in self.reward_models
            ]
            found.append("no reward model was released")
        for name, word in (("shop-flipped", "win rate"), ("shop-unanchored", "KL")):
            if not _refused_for(self.attempts, name, word):
                found.append(f"the adapter {name} was not rejected by its {word}")
        if not self.rolled_back:
            found.append("the rollback was not served")
        return found

    def summary(self) -> dict[str, Any]:
        """The object that scripts read."""
        return {
            "customer_before": mean(self.customers_before),
            "customer_after": mean(self.customers_after),
            "reward_before": mean(self.rewards_before),
            "reward_after": mean(self.rewards_after),
            "promoted": self.promoted,
            "method": self.method,
            "reward_models": [asdict(each) for each in self.reward_models],
            "refused": [
                {"adapter": attempt.adapter, "reasons": list(attempt.reasons)}
                for attempt in self.refused
                if attempt.decision == "reject"
            ],
            "rolled_back": self.rolled_back,
            "alignment": self.alignment,
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "labels_decided": self.labels_decided,
            "simulated": list(self.simulated),
            "missing": self.missing(),
        }

    def write(self, path: Path) -> None:
        """Writes the summary."""
        path.write_text(json.dumps(self.summary(), indent=2) + "\n", encoding="utf-8")


def mean(values: list[float]) -> float | None:
    """The mean, None of nothing."""
    return fmean(values) if values else None


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _refused_for(attempts: list[Attempt], policy: str, word: str) -> bool:
    return any(
        attempt.adapter.startswith(f"{policy}-")
        and attempt.decision == "reject"
        and any(reason.startswith(f"{word}:") and "undecided" not in reason for reason in attempt.reasons)
        for attempt in attempts
    )

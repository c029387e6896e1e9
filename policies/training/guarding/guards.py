"""When a training run must stop itself: decisions only, from numbers that others measured.

In-training margins are no evidence: plain DPO shows margins near 10 and accuracy 1 while the policy gets
worse. What shows it are KL and entropy on fresh answers, and the chosen answers' own log-probability.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policies.policy import Guard, TrainingGuards
from policies.training.jobs import GuardReading

WINDOW = 5
"""Steps over which the chosen answers' log-probability is averaged: one batch is noise."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that was passed, and whether that stops the run."""

    guard: str
    reason: str
    enforced: bool


def check_step(
    loss: float, grad_norm: float, chosen: Sequence[float], guards: TrainingGuards
) -> list[Breach]:
    """After every step. `chosen` is the chosen answers' log-probability minus the reference's, per step."""
    breaches: list[Breach] = []
    for name, value in (("loss", loss), ("gradient", grad_norm)):
        if not math.isfinite(value):
            breaches.append(Breach(f"finite_{name}", f"the {name} is {value}", enforced=True))
    if len(chosen) >= WINDOW:
        drop = -sum(chosen[-WINDOW:]) / WINDOW
        breaches += _above("chosen_logp_drop_nats", drop, guards.chosen_logp_drop_nats, "nats per sequence")
    return breaches


def check_sample(first: GuardReading, now: GuardReading, guards: TrainingGuards) -> list[Breach]:
    """On freshly sampled answers; `first` is the run's first measurement."""
    breaches = _above("kl_nats", now.kl_sequence, guards.kl_nats, "nats per sequence")
    if first.entropy > 0:
        ratio = now.entropy / first.entropy
        breaches += _above("entropy_high_ratio", ratio, guards.entropy_high_ratio, "of the first measurement")
        breaches += _below("entropy_low_ratio", ratio, guards.entropy_low_ratio, "of the first measurement")
    return breaches


def enforced(breaches: Sequence[Breach]) -> str | None:
    """Why the run must stop, or None."""
    return "; ".join(breach.reason for breach in breaches if breach.enforced) or None


def _above(name: str, value: float, guard: Guard, unit: str) -> list[Breach]:
    if value <= guard.limit:
        return []
    return [Breach(name, f"{name} {value:.3g} {unit} is above {guard.limit:g}", guard.mode == "enforce")]


def _below(name: str, value: float, guard: Guard, unit: str) -> list[Breach]:
    if value >= guard.limit:
        return []
    return [Breach(name, f"{name} {value:.3g} {unit} is below {guard.limit:g}", guard.mode == "enforce")]

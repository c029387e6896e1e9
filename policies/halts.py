"""The halt rules: evidence from the store in, a halt with its figures out, or nothing.

A rule halts only on what was measured. Missing evidence halts nothing here; it keeps the gate closed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from policies.alignment import Alignment, AlignmentStanding
from policies.judging.judges import NamedJudge
from policies.policy import HaltRules
from policies.records import Halt, Role, Scope


class Evidence(StrEnum):
    """What an alert rests on. What a person resumed stays resumed until there is more of it."""

    LABELS = "labels"
    VERDICTS = "verdicts"
    EVALUATIONS = "evaluations"
    SPEND = "spend"


EVIDENCE_OF: Mapping[str, Evidence] = {
    "RlaifdJudgeAlignmentLow": Evidence.LABELS,
    "RlaifdJudgeAlignmentBreach": Evidence.LABELS,
    "RlaifdRewardVarianceCollapse": Evidence.VERDICTS,
    "RlaifdPolicyEntropyCollapse": Evidence.EVALUATIONS,
    "RlaifdBudgetOverspent": Evidence.SPEND,
}
"""The shipped alerts whose gauges show, after a restart of the daemon, what they showed before it."""


def evidence_of(alert: str, written: str) -> Evidence | None:
    """What an alert rests on: its label `evidence`, else what its name says. None: each start is news."""
    try:
        return Evidence(written)
    except ValueError:
        return EVIDENCE_OF.get(alert)


def steps_back(halted_at: Sequence[int], in_force: int) -> bool:
    """Whether an alert may move serving one step back. `halted_at`: the epochs at which the active halts of
    promotion were latched.

    Whatever halts promotion while nobody has resumed it is taken for one cause, and only the epoch that was
    in force when it first told of itself may be left. Epochs, and no times: clocks jump.
    """
    return bool(halted_at) and min(halted_at) == in_force


@dataclass(frozen=True, slots=True)
class Spread:
    """The standard deviation (0-10 scale) of a judge's last `count` rewards."""

    count: int
    deviation: float | None


@dataclass(frozen=True, slots=True)
class HaltEvidence:
    """What the rules look at, by judge."""

    alignment: Mapping[NamedJudge, Alignment] = field(default_factory=dict)
    rewards: Mapping[NamedJudge, Spread] = field(default_factory=dict)


class HaltRule(Protocol):
    """Returns the halt that the evidence asks for, or None. Pure; raises nothing."""

    @property
    def name(self) -> str: ...

    def __call__(self, evidence: HaltEvidence) -> Halt | None: ...


@dataclass(frozen=True, slots=True)
class AlignmentFloor:
    """People agree with a judge less often than the limit, by the point estimate.

    A judge whose verdicts become training data halts training; the gate's judge halts promotion.
    """

    judge: NamedJudge
    rules: HaltRules

    @property
    def name(self) -> str:
        return f"alignment-{self.judge.name}"

    def __call__(self, evidence: HaltEvidence) -> Halt | None:
        found = evidence.alignment.get(self.judge)
        if found is None or found.ratio is None or found.standing is not AlignmentStanding.BREACH:
            return None
        reason = (
            f"people agree with the {self.judge.title} on {found.ratio:.1%} of {found.labels} pairs "
            f"(one-sided 95 % bounds {found.lower:.1%} to {found.upper:.1%}); the limit is {found.limit:.1%}"
        )
        scope = Scope.PROMOTION if self.judge.role is Role.GATE else Scope.TRAINING
        return Halt(scope=scope, rule=self.name, reason=reason)


@dataclass(frozen=True, slots=True)
class RewardSpreadFloor:
    """A judge's rewards hardly differ any more: it tells nothing apart, or all answers are alike."""

    judge: NamedJudge
    rules: HaltRules

    @property
    def name(self) -> str:
        return f"reward-spread-{self.judge.name}"

    def __call__(self, evidence: HaltEvidence) -> Halt | None:
        found = evidence.rewards.get(self.judge)
        if found is None or found.deviation is None or found.count < self.rules.reward_window:
            return None
        if found.deviation >= self.rules.min_reward_sd:
            return None
        reason = (
            f"the last {found.count} rewards of the {self.judge.title} have a standard deviation of "
            f"{found.deviation:.3f}; the limit is {self.rules.min_reward_sd:g}"
        )
        return Halt(scope=Scope.TRAINING, rule=self.name, reason=reason)


def rules_for(rules: HaltRules, judges: Sequence[NamedJudge]) -> tuple[HaltRule, ...]:
    """The rules for the configured judges: alignment for each, reward spread for those that score."""
    floors: list[HaltRule] = [AlignmentFloor(judge, rules) for judge in judges]
    floors.extend(RewardSpreadFloor(judge, rules) for judge in judges if judge.role is not Role.GATE)
    return tuple(floors)


def evaluate(rules: Sequence[HaltRule], evidence: HaltEvidence) -> tuple[Halt, ...]:
    """Every halt that the evidence asks for, in the rules' order."""
    return tuple(halt for rule in rules if (halt := rule(evidence)) is not None)

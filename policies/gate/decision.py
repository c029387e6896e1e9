"""The gate: evidence in; promote, hold or reject with reasons out.

Every rule looks at the whole evidence and says what speaks against promotion. `reject` is said of the
adapter: it was measured and found wrong. `hold` is said of the evidence: something is missing, undecided or
halted. All findings are listed, a reject outranks a hold, and an adapter is promoted only when rules were
evaluated and none found anything.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from policies.alignment import COVERAGE_FLOOR, Alignment, AlignmentStanding
from policies.judging.judges import NamedJudge
from policies.policy import GateRule
from policies.statistics.intervals import Interval, needed, win_rate

Result = Literal["win", "tie", "loss", "undecided"]
VALUES: Mapping[str, float] = {"win": 1.0, "tie": 0.5, "loss": 0.0}


class DecisionKind(StrEnum):
    """What the gate says of an adapter."""

    PROMOTE = "promote"
    HOLD = "hold"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the candidate's answer to one gate prompt fared against the stable one.

    `undecided`: the judge's two orders contradict each other, it abstained, or the judgement failed.
    """

    cluster: str
    result: Result


@dataclass(frozen=True, slots=True)
class AgentEvidence:
    """Versions of the agent: which has the most of the traffic, and which one's prompts were answered.

    There are `prompts` gate prompts of the one in the traffic, counted as far as they are needed; `others`:
    they are too few, and there are some of other versions. `compared` is None as long as nothing was sampled.
    """

    current: str
    compared: str | None
    prompts: int
    others: bool = False

    @property
    def changed(self) -> bool:
        """Whether the comparison was made with another version than the one in the traffic."""
        return self.compared is not None and self.compared != self.current

    def lacks(self, least: int) -> bool:
        """Whether another version has left the one in the traffic too few prompts."""
        return self.prompts < least and self.others


@dataclass(frozen=True, slots=True)
class GateEvidence:
    """What is known of a candidate adapter. None is "unknown" and never counts for the candidate.

    KL is the mean per sequence of candidate against stable, entropies are per token, all in nats on fresh
    samples. `halts` are the reasons of active halts of promotion. `alignment` has every configured judge. Of
    the `answered` prompts, so many of either policy's answers were cut off by a limit of length.
    """

    comparisons: tuple[Comparison, ...] = ()
    gate_judge: bool = False
    answered: int = 0
    cut_candidate: int = 0
    cut_stable: int = 0
    kl_sequence: float | None = None
    entropy_candidate: float | None = None
    entropy_stable: float | None = None
    halts: tuple[str, ...] | None = None
    alignment: Mapping[NamedJudge, Alignment | None] = field(default_factory=dict)
    verified: bool | None = None
    verification: str = ""
    """What does not verify."""
    quarantined: str | None = None
    """Why the adapter is quarantined."""
    stable_moved: str | None = None
    """What became of the stable adapter while the candidate was evaluated against it."""
    agent: AgentEvidence | None = None
    """None: no version of the agent is known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that speaks against promotion."""

    kind: Literal[DecisionKind.HOLD, DecisionKind.REJECT]
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate concluded, with every reason, rejecting ones first."""

    kind: DecisionKind
    reasons: tuple[str, ...]
    win_rate: Interval | None = None


Rule = Callable[[GateEvidence, GateRule], Iterator[Finding]]


def decide(evidence: GateEvidence, limits: GateRule, rules: Sequence[Rule] | None = None) -> Decision:
    """Puts the evidence before every rule. Pure: the same evidence gives the same decision."""
    evaluated = RULES if rules is None else tuple(rules)
    found = [finding for rule in evaluated for finding in rule(evidence, limits)]
    interval = rate_of(evidence.comparisons, limits)
    rejecting = tuple(finding.reason for finding in found if finding.kind is DecisionKind.REJECT)
    holding = tuple(finding.reason for finding in found if finding.kind is DecisionKind.HOLD)
    if not evaluated:
        return Decision(DecisionKind.HOLD, ("no rule was evaluated",), interval)
    if found:
        return Decision(
            DecisionKind.REJECT if rejecting else DecisionKind.HOLD, rejecting + holding, interval
        )
    return Decision(DecisionKind.PROMOTE, (_case(evidence, limits, interval),), interval)


def rate_of(comparisons: Sequence[Comparison], limits: GateRule) -> Interval | None:
    """The win rate over decided comparisons, ties counted half, with one-sided bounds. None without any."""
    results = [(one.cluster, VALUES[one.result]) for one in comparisons if one.result != "undecided"]
    return win_rate(results, confidence=limits.confidence) if results else None


def verified(evidence: GateEvidence, _limits: GateRule) -> Iterator[Finding]:
    """The adapter's files are what its manifest says, and nobody quarantined it."""
    if evidence.verified is None:
        yield Finding(DecisionKind.HOLD, "adapter: not verified")
    elif not evidence.verified:
        yield Finding(
            DecisionKind.REJECT, f"adapter: does not verify: {evidence.verification or 'no reason given'}"
        )
    if evidence.quarantined is not None:
        yield Finding(DecisionKind.REJECT, f"adapter: quarantined: {evidence.quarantined}")


def unhalted(evidence: GateEvidence, _limits: GateRule) -> Iterator[Finding]:
    """Promotion is not halted. A halt state that could not be read counts as halted."""
    if evidence.halts is None:
        yield Finding(DecisionKind.HOLD, "halt: the halts could not be read")
        return
    for reason in evidence.halts:
        yield Finding(DecisionKind.HOLD, f"halt: promotion is halted: {reason}")


def same_stable(evidence: GateEvidence, _limits: GateRule) -> Iterator[Finding]:
    """The stable adapter is still the one that the candidate was compared with."""
    if evidence.stable_moved is not None:
        yield Finding(DecisionKind.HOLD, f"stable: {evidence.stable_moved}")


def same_agent(evidence: GateEvidence, limits: GateRule) -> Iterator[Finding]:
    """What is known is known of the version of the agent that has the most of the traffic."""
    agent = evidence.agent
    if agent is None:
        return
    if agent.changed:
        yield Finding(
            DecisionKind.HOLD,
            f"agent version: the comparison was made with prompts of {agent.compared}, and {agent.current} "
            "has the most of the traffic now",
        )
    if agent.lacks(limits.min_prompts):
        yield Finding(
            DecisionKind.HOLD,
            f"agent version: {agent.current} has {agent.prompts} gate prompts so far; {limits.min_prompts} "
            "are needed",
        )


def wins(evidence: GateEvidence, limits: GateRule) -> Iterator[Finding]:
    """The candidate wins more often than the limit, surely, on enough prompts and not just the easy ones."""
    if not evidence.gate_judge:
        yield Finding(DecisionKind.HOLD, "win rate: no gate judge is configured (judges.gate)")
    asked = len(evidence.comparisons)
    decided = sum(one.result != "undecided" for one in evidence.comparisons)
    interval = rate_of(evidence.comparisons, limits)
    if interval is not None and decided >= limits.min_prompts and interval.upper < limits.min_win_rate:
        yield Finding(
            DecisionKind.REJECT, f"win rate: {_figures(evidence, interval)} is below {limits.min_win_rate:g}"
        )
        return
    if decided < limits.min_prompts:
        yield Finding(
            DecisionKind.HOLD,
            f"win rate: {decided} of {asked} gate prompts were decided; {limits.min_prompts} are needed",
        )
    elif decided < COVERAGE_FLOOR * asked:
        yield Finding(
            DecisionKind.HOLD,
            f"win rate: the judge decided {decided} of {asked} gate prompts, fewer than "
            f"{COVERAGE_FLOOR:.0%}: what it decides is what is easy for it",
        )
    if interval is not None and interval.lower <= limits.min_win_rate <= interval.upper:
        yield Finding(
            DecisionKind.HOLD,
            f"win rate undecided: {_figures(evidence, interval)}, {_more(interval, limits)}",
        )


def near(evidence: GateEvidence, limits: GateRule) -> Iterator[Finding]:
    """The candidate is not further from the stable policy than the KL ceiling."""
    kl = evidence.kl_sequence
    if kl is None:
        yield Finding(DecisionKind.HOLD, "KL: not measured")
    elif not math.isfinite(kl):
        yield Finding(DecisionKind.REJECT, f"KL: {kl} nats per sequence is not finite")
    elif kl > limits.max_kl_nats:
        yield Finding(
            DecisionKind.REJECT,
            f"KL: {kl:.1f} nats per sequence is above the ceiling of {limits.max_kl_nats:g}",
        )


def diverse(evidence: GateEvidence, limits: GateRule) -> Iterator[Finding]:
    """The candidate's entropy lies within the band around the stable one's."""
    candidate, stable = evidence.entropy_candidate, evidence.entropy_stable
    if candidate is None or stable is None:
        yield Finding(DecisionKind.HOLD, "entropy: not measured on both arms")
        return
    if not math.isfinite(candidate) or candidate < 0:
        yield Finding(DecisionKind.REJECT, f"entropy: {candidate} nats per token is no entropy")
        return
    if not math.isfinite(stable) or stable <= 0:
        yield Finding(
            DecisionKind.HOLD, f"entropy: the stable policy's is {stable} nats per token, which gives no band"
        )
        return
    ratio = candidate / stable
    if not limits.min_entropy_ratio <= ratio <= limits.max_entropy_ratio:
        yield Finding(
            DecisionKind.REJECT,
            f"entropy: {candidate:.3f} nats per token is {ratio:.2f} times the stable policy's "
            f"{stable:.3f}; the band is {limits.min_entropy_ratio:g} to {limits.max_entropy_ratio:g}",
        )


def finished(evidence: GateEvidence, limits: GateRule) -> Iterator[Finding]:
    """The candidate's answers are not cut off much more often than the stable policy's. What the judge saw of
    them is then not what would be served: a limit hides how they end, or that they never do.
    """
    more = evidence.cut_candidate - evidence.cut_stable
    if more > limits.max_cut_excess * evidence.answered:
        yield Finding(
            DecisionKind.HOLD,
            f"cut off: {_cut(evidence)}; more than {limits.max_cut_excess:.0%} apart: raise "
            "policy.sampling.max_new_tokens and evaluate again",
        )


def aligned(evidence: GateEvidence, limits: GateRule) -> Iterator[Finding]:
    """People surely agree with every judge more often than the limit."""
    if not evidence.alignment:
        yield Finding(DecisionKind.HOLD, "alignment: of no judge is it known")
    for judge, found in evidence.alignment.items():
        name = f"alignment of the {judge.title}"
        if found is None or found.ratio is None:
            yield Finding(DecisionKind.HOLD, f"{name}: unknown, no labelled pair that it decided")
        elif found.labels < limits.min_labels:
            yield Finding(
                DecisionKind.HOLD, f"{name}: {found.labels} labelled pairs; {limits.min_labels} are needed"
            )
        elif found.lower <= limits.min_alignment:
            yield Finding(
                DecisionKind.HOLD,
                f"{name}: {found.ratio:.1%} of {found.labels} pairs, lower bound {found.lower:.1%} "
                f"is not above {limits.min_alignment:.1%}",
            )
        elif found.standing is not AlignmentStanding.OK:
            yield Finding(
                DecisionKind.HOLD, f"{name}: {found.standing.value}, it decided {_percent(found.coverage)}"
            )


RULES: tuple[Rule, ...] = (
    verified,
    wins,
    near,
    diverse,
    finished,
    aligned,
    unhalted,
    same_stable,
    same_agent,
)


def _figures(evidence: GateEvidence, interval: Interval) -> str:
    counts = {name: sum(one.result == name for one in evidence.comparisons) for name in VALUES}
    return (
        f"{interval.estimate:.3f} (one-sided bounds {interval.lower:.3f} to {interval.upper:.3f}; "
        f"{counts['win']} won, {counts['tie']} tied, {counts['loss']} lost)"
    )


def _more(interval: Interval, limits: GateRule) -> str:
    total = needed(interval.estimate, limits.min_win_rate, confidence=limits.confidence)
    if total is None:
        return f"too close to {limits.min_win_rate:g} for more pairs to decide"
    more = max(1, math.ceil(total * interval.n / interval.effective) - interval.n)
    return f"about {more} more decided pairs would decide"


def _cut(evidence: GateEvidence) -> str:
    return (
        f"{evidence.cut_candidate} of the candidate's {evidence.answered} answers ended at the limit of "
        f"length, {evidence.cut_stable} of the stable policy's"
    )


def _percent(share: float | None) -> str:
    return "nothing" if share is None else f"{share:.1%} of the pairs it was asked"


def _case(evidence: GateEvidence, limits: GateRule, interval: Interval | None) -> str:
    rate = _figures(evidence, interval) if interval else "not measured"
    kl = "not measured" if evidence.kl_sequence is None else f"{evidence.kl_sequence:.1f}"
    cut = f"; cut off: {_cut(evidence)}" if evidence.cut_candidate or evidence.cut_stable else ""
    return (
        f"win rate {rate} is above {limits.min_win_rate:g}; KL {kl} nats per sequence{cut}; no rule objects"
    )

"""The gate before an adapter of the reward-hacking scene: the product's comparison, evidence and rules.

Only the judge is simulated. That people agree with it is taken as given, so that what the gate finds is of
the adapter: who wins, how far it went, how sure of itself it is, how it ends its answers.
"""

from pathlib import Path
from typing import Final

from daemon.demo.simulated_judge import SimulatedJudge
from daemon.demo.world import customers
from policies.alignment import Labelled, alignment
from policies.clusters import cluster_of
from policies.gate.decision import Comparison, Decision, GateEvidence, Result, decide
from policies.judging.grammar import PairReply
from policies.judging.judges import NamedJudge
from policies.judging.verdicts import preferred
from policies.policy import GateRule
from policies.records import Message, Role, Sampled
from policies.training.jobs import CompareJob
from policies.training.layout import PROGRESS
from policies.training.progress import Reporter
from tests.soak.hacking_scene import LONGEST, Impartial, Scene

PUT: Final = range(1600, 1800)
"""Customers to whom both policies answer; neither training nor the measure of contentment has seen them."""
WORSE: Final = "win rate: "
"""How the reason begins that the judge finds the candidate's answers worse."""


def decision_on(scene: Scene, adapter: Path) -> Decision:
    """What the gate says of an adapter against the base, by the shipped limits."""
    from policies.training.compare import run_compare

    out = scene.folder / f"gate-{adapter.parent.name}"
    out.mkdir()
    prompts = [case.prompt for case in customers(scene.seed)[PUT.start : PUT.stop]]
    job = CompareJob(
        out=out, base_model=str(scene.model), candidate=adapter, device="cpu", seed=scene.seed,
        prompts=tuple((Message(role="user", content=each),) for each in prompts), max_new_tokens=LONGEST,
        batch_size=128,
    )  # fmt: skip
    with Reporter(out / PROGRESS) as reporter:
        found = run_compare(job, reporter, lambda: False)
    judge = Impartial("simulated-gate", scene.seed)
    both = [
        (prompt, ours, theirs)
        for prompt, ours, theirs in zip(prompts, found.candidate, found.stable, strict=True)
        if ours is not None and theirs is not None
    ]
    limits = GateRule()
    evidence = GateEvidence(
        comparisons=tuple(comparison(judge, asked, said(ours), said(theirs)) for asked, ours, theirs in both),
        gate_judge=True,
        answered=len(both),
        cut_candidate=sum(ours.cut for _, ours, _ in both),
        cut_stable=sum(theirs.cut for _, _, theirs in both),
        kl_sequence=found.kl_sequence,
        entropy_candidate=found.entropy_candidate,
        entropy_stable=found.entropy_stable,
        halts=(),
        alignment={NamedJudge("gate", Role.GATE, "v1"): alignment(
            [Labelled(str(each), "a", ("a",), 1, 1) for each in range(2 * limits.min_labels)],
            limit=limits.min_alignment, min_labels=limits.min_labels,
        )},
        verified=True,
    )  # fmt: skip
    return decide(evidence, limits)


def comparison(judge: SimulatedJudge, prompt: str, ours: str, theirs: str) -> Comparison:
    """Of one prompt: asked in both orders, as the judge stage does. Equal answers are nobody's win."""
    cluster = cluster_of((Message(role="user", content=prompt),))
    if ours == theirs:
        return Comparison(cluster, "tie")
    shown, swapped = judge.verdict(prompt, (ours, theirs)), judge.verdict(prompt, (theirs, ours))
    choice = preferred(PairReply(shown), PairReply(swapped)).choice
    results: dict[str | None, Result] = {"a": "win", "b": "loss", "tie": "tie", None: "undecided"}
    return Comparison(cluster, results[choice])


def refused_as_worse(decision: Decision) -> bool:
    """Whether the gate rejects, and names that the candidate's answers are worse; a hold is no refusal."""
    return decision.kind == "reject" and any(
        each.startswith(WORSE) and "is below" in each for each in decision.reasons
    )


def said(answer: Sampled) -> str:
    """What the judge is shown of it."""
    return answer.messages[-1].content

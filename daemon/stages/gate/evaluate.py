"""The evaluate stage: gathers the gate's evidence on published adapters and decides.

One attempt at a time, the oldest adapter first. Each call of `advance` takes one attempt one state further,
so that a kill costs at most the work of one state: `open` -> sample both arms, store the answers, ask the
gate's judge -> `judging` -> every comparison is in -> `decided`. The decision is written together with its
ledger entry, in the transaction that reads halts, quarantine and the state in force.

An adapter that was held is looked at again as the evidence about it changes: labels arrive, a halt is
resumed. Its answers and verdicts stay what they were; nobody is asked twice until a comparison is won.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.errors import AdapterRefusedError, HaltedError
from daemon.latch import Halts
from daemon.log import get
from daemon.metrics.figures import show_figures
from daemon.metrics.registry import Metrics
from daemon.stages.gate.compare import Comparing
from daemon.stages.gate.evidence import asking, figures, gather, summary
from daemon.store import agentversions, evaluations, ledger, rollouts
from daemon.store.agentevidence import AWAITED, agent_of, outlived
from daemon.store.candidates import StoredPrompt
from daemon.store.evaluations import Evaluation
from daemon.store.judgements import open_count, request
from daemon.store.store import Store
from policies.gate.decision import Decision, DecisionKind, decide
from policies.judging.judges import NamedJudge, of_roles
from policies.policy import PolicySpec
from policies.records import Role, Scope
from policies.training.jobs import CompareResult

log = get("gate")

MOST_FAILURES = 3
"""Failed samplings of one attempt before it is held: the adapter, not the moment, is at fault."""

RECONSIDER_S = 10.0
"""Between two looks at the held attempts."""

MOST_HELD = 5
"""Held attempts looked at again, newest first."""


@dataclass(frozen=True, slots=True)
class Advance:
    """What one call did to one attempt. `searched`: for the prompt that kills the comparison. `waiting`:
    comparisons are still out.
    """

    evaluation_id: int
    adapter: str
    did: Literal["opened", "searched", "sampled", "failed", "waiting", "decided", "reconsidered"]
    decision: DecisionKind | None = None
    reasons: tuple[str, ...] = ()


class Evaluate:
    """Takes published adapters through the gate.

    `verify` raises AdapterRefusedError when an adapter's files are not what its manifest says. `judges`
    are the configured ones; each needs alignment. Without a gate judge every adapter is held. `overrides`
    are the rules of independence that are set aside: the report names them.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        spec: PolicySpec,
        judges: Sequence[NamedJudge],
        comparing: Comparing,
        verify: Callable[[str], object],
        halts: Halts,
        overrides: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._spec = spec
        self._judges = judges
        self._gate = of_roles(judges, Role.GATE)
        self._verify = verify
        self._halts = halts
        self._overrides = list(overrides)
        self._looked_at: float | None = None
        self._comparing = comparing

    def step(self) -> int:
        """One `advance`; returns 1 if it moved something, 0 if there is nothing to do but wait."""
        advance = self.advance()
        return int(advance is not None and advance.did not in {"waiting", "failed"})

    def advance(self) -> Advance | None:
        """Takes the oldest undecided attempt, else a new adapter, else a held one, one state further."""
        evaluation = self._store.read(evaluations.undecided)
        if evaluation is None:
            return self._begin() or self._reconsider()
        if evaluation.state == "open":
            return self._sample(self._rebased(evaluation))
        # Without a gate judge nobody will make what is open: the attempt is held, and others have their turn.
        if bool(self._gate) and self._store.read(lambda c: open_count(c, evaluation_id=evaluation.id)):
            return Advance(evaluation.id, evaluation.adapter, "waiting")
        return self._decide(evaluation)

    def open(self, adapter: str) -> Advance:
        """Opens a new attempt on an adapter, whatever was decided of it before.

        Raises AdapterRefusedError for an unknown or quarantined adapter and for the one in force.
        """
        now = self._clock.now()

        def _open(connection: Connection) -> Evaluation:
            known, force = rollouts.known(connection, adapter), rollouts.in_force(connection)
            if known is None:
                raise AdapterRefusedError(f"adapter {adapter} is unknown: `rlaifd adapters` lists them")
            if known.quarantine is not None:
                raise AdapterRefusedError(f"adapter {adapter} is quarantined: {known.quarantine}")
            if force.stable == adapter:
                raise AdapterRefusedError(f"adapter {adapter} is in force: there is nothing to compare it to")
            return evaluations.open_attempt(
                connection, adapter, stable=force.stable, epoch=force.epoch, now=now
            )

        evaluation = self._store.write(_open)
        log.info("evaluation_opened", evaluation=evaluation.id, adapter=adapter, stable=evaluation.stable)
        return Advance(evaluation.id, adapter, "opened")

    def _begin(self) -> Advance | None:
        stable = self._store.read(rollouts.in_force).stable
        adapter = self._store.read(lambda c: evaluations.unevaluated(c, stable=stable))
        return None if adapter is None else self.open(adapter)

    def _rebased(self, evaluation: Evaluation) -> Evaluation:
        """The attempt against what is in force now: before sampling, a newer stable adapter costs nothing."""
        force = self._store.read(rollouts.in_force)
        if force.stable in {evaluation.stable, evaluation.adapter}:
            return evaluation
        return self._store.write(
            lambda c: evaluations.rebase(c, evaluation, stable=force.stable, epoch=force.epoch)
        )

    def _sample(self, evaluation: Evaluation) -> Advance:
        refused = self._refusal(evaluation.adapter)
        if refused is not None or not self._gate:
            return self._decide(evaluation)
        try:
            self._halts.check(Scope.JUDGING)
        except HaltedError as error:
            log.info("evaluation_waits", evaluation=evaluation.id, reason=str(error))
            return Advance(evaluation.id, evaluation.adapter, "waiting")
        agent = self._store.read(lambda c: agent_of(c, least=self._spec.gate.min_prompts))
        if agent is not None and agent.lacks(self._spec.gate.min_prompts):
            # Answers to the few prompts of the new version would cost money and decide nothing.
            awaited = {**evaluation.evidence, AWAITED: agent.current}
            return self._decide(replace(evaluation, evidence=awaited))
        version = None if agent is None else agent.current
        return self._compared(replace(evaluation, agent_version=version))

    def _compared(self, evaluation: Evaluation) -> Advance:
        """Samples both arms on prompts of the attempt's version of the agent, and asks the gate's judge."""
        prompts = self._prompts(evaluation)
        if not prompts:
            return self._decide(evaluation)
        result = self._comparing.compared(evaluation, prompts)
        if result is None:
            return Advance(evaluation.id, evaluation.adapter, "searched")
        if result.state != "done":
            return self._failed(evaluation, result)
        return self._sampled(evaluation, prompts, result)

    def _prompts(self, evaluation: Evaluation) -> list[StoredPrompt]:
        salt, limit = f"gate:{evaluation.adapter}", self._spec.gate.max_prompts
        version = evaluation.agent_version
        return self._store.read(
            lambda c: evaluations.gate_prompts(c, salt=salt, limit=limit, agent_version=version)
        )

    def _sampled(
        self, evaluation: Evaluation, prompts: Sequence[StoredPrompt], result: CompareResult
    ) -> Advance:
        asked = self._store.write(lambda c: self._ask(c, evaluation, prompts, result))
        refused = {"refused": len(result.refused), "reason": next(iter(result.refused.values()), "")}
        log.info(
            "evaluation_sampled",
            evaluation=evaluation.id,
            prompts=len(prompts),
            judgements=asked,
            **(refused if result.refused else {}),
        )
        return Advance(evaluation.id, evaluation.adapter, "sampled")

    def _failed(self, evaluation: Evaluation, result: CompareResult) -> Advance:
        """Notes a failed sampling; the last one of several decides. A stopped one was not its fault."""
        if result.state == "stopped":
            return Advance(evaluation.id, evaluation.adapter, "waiting")
        failures = int(evaluation.evidence.get("failures", 0)) + 1
        evidence = {**evaluation.evidence, "failures": failures, "failure": result.reason}
        self._store.write(lambda c: evaluations.note(c, evaluation.id, evidence))
        log.warning("evaluation_failed", evaluation=evaluation.id, failures=failures, reason=result.reason)
        if failures >= MOST_FAILURES:
            return self._decide(replace(evaluation, evidence=evidence))
        return Advance(evaluation.id, evaluation.adapter, "failed")

    def _ask(
        self,
        connection: Connection,
        evaluation: Evaluation,
        prompts: Sequence[StoredPrompt],
        result: CompareResult,
    ) -> int:
        """Stores answers and figures and asks the gate's judge, if the attempt is still open."""
        answers = zip(prompts, result.candidate, result.stable, strict=True)
        rows = [
            (prompt.trace_id, candidate, stable)
            for prompt, candidate, stable in answers
            if candidate is not None and stable is not None
        ]
        measured = {"prompts": len(prompts), "answered": len(rows), **figures(result)}
        if not evaluations.start_judging(
            connection,
            evaluation.id,
            {**evaluation.evidence, **measured},
            agent_version=evaluation.agent_version,
        ):
            return 0
        now = self._clock.now()
        evaluations.store_answers(connection, evaluation, rows, now=now)
        arms = evaluations.arms(connection, evaluation.id)
        wanted = [
            asking(evaluation.id, each, judge) for each in arms if not each.same for judge in self._gate
        ]
        return request(connection, wanted, now)

    def _decide(self, evaluation: Evaluation) -> Advance:
        refused = self._refusal(evaluation.adapter)
        decision = self._store.write(lambda c: self._write_decision(c, evaluation, refused))
        if decision is None:
            return Advance(evaluation.id, evaluation.adapter, "waiting")
        self._announce(evaluation, decision)
        did: Literal["decided", "reconsidered"] = (
            "reconsidered" if evaluation.state == "decided" else "decided"
        )
        return Advance(evaluation.id, evaluation.adapter, did, decision.kind, decision.reasons)

    def _reconsider(self) -> Advance | None:
        """Decides anew on the newest held attempt that the gate would not hold any more.

        The files are verified only then: reading them all at every look would cost more than the look.
        """
        now = self._clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < RECONSIDER_S:
            return None
        self._looked_at = now
        stable = self._store.read(rollouts.in_force).stable
        waiting = self._store.read(lambda c: evaluations.held(c, stable=stable, limit=MOST_HELD))
        ready = next((evaluation for evaluation in waiting if self._releasable(evaluation)), None)
        return self._renew(stable) if ready is None else self._decide(ready)

    def _renew(self, stable: str | None) -> Advance | None:
        """A new attempt on an adapter that was held while the agent changed, once there are enough prompts of
        the version that has the most of the traffic: one attempt a version.
        """
        current = self._store.read(agentversions.current)
        if current is None:
            return None
        found = self._store.read(lambda c: outlived(c, stable=stable, current=current, limit=MOST_HELD))
        if found is None:
            return None
        agent = self._store.read(lambda c: agent_of(c, least=self._spec.gate.min_prompts))
        enough = agent is not None and agent.prompts >= self._spec.gate.min_prompts
        return self.open(found) if enough else None

    def _releasable(self, evaluation: Evaluation) -> bool:
        """Whether the gate would now decide on a held attempt; a sampled one whose comparisons are all in."""
        if not evaluation.evidence.get("prompts"):
            return False
        if evaluation.agent_version not in {None, self._store.read(agentversions.current)}:
            return False
        if self._store.read(lambda c: open_count(c, evaluation_id=evaluation.id)):
            return False  # a look at each verdict as it comes would find a win sooner or later
        evidence = self._store.read(lambda c: gather(c, evaluation, self._spec, self._judges, refused=None))
        return decide(evidence, self._spec.gate).kind is not DecisionKind.HOLD

    def _write_decision(
        self, connection: Connection, evaluation: Evaluation, refused: str | None
    ) -> Decision | None:
        """Decides on what this transaction sees; None if the attempt is not what it was."""
        evidence = gather(connection, evaluation, self._spec, self._judges, refused=refused)
        decision = decide(evidence, self._spec.gate)
        failure = evaluation.evidence.get("failure")
        if failure and evidence.kl_sequence is None:
            text = f"sampling: failed {evaluation.evidence['failures']} times: {failure}"
            decision = replace(decision, reasons=(*decision.reasons, text))
        now = self._clock.now()
        written = evaluations.decide(
            connection,
            evaluation,
            decision=decision.kind,
            reasons=decision.reasons,
            evidence={
                **evaluation.evidence,
                **summary(evidence, decision),
                "overrides": self._overrides,
            },
            now=now,
        )
        if not written:
            return None
        ledger.append(
            connection,
            at=now,
            actor="gate",
            action=f"gate_{decision.kind}",
            subject=evaluation.adapter,
            reason="; ".join(decision.reasons),
            detail={"evaluation": evaluation.id, "stable": evaluation.stable, "epoch": evaluation.epoch},
        )
        return decision

    def _refusal(self, adapter: str) -> str | None:
        """Why the adapter's files are refused; None when they verify."""
        try:
            self._verify(adapter)
        except AdapterRefusedError as error:
            return str(error)
        return None

    def _announce(self, evaluation: Evaluation, decision: Decision) -> None:
        self._metrics.gate_decisions.labels(decision.kind).inc()
        if decision.win_rate is not None:
            self._metrics.win_rate.set(decision.win_rate.estimate)
            self._metrics.win_rate_lower.set(decision.win_rate.lower)
        show_figures(self._metrics, evaluation.evidence)
        log.info(
            "gate_decided",
            evaluation=evaluation.id,
            adapter=evaluation.adapter,
            decision=decision.kind.value,
            reasons=list(decision.reasons),
        )

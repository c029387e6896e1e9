"""The promote stage: writes what the gate passed into the rollout file.

Level-triggered: it looks for the newest passed adapter that was never in force and was compared with the one
that is, on prompts of the version of the agent that has the most of the traffic. So a kill between decision
and promotion loses nothing, and an old decision promotes nothing.
"""

from typing import Protocol

from daemon.store.agentversions import current
from daemon.store.evaluations import newest_passed
from daemon.store.rollouts import changes
from daemon.store.store import Store
from policies.rollout import Assignment


class Promoter(Protocol):
    """The part of `daemon.stages.rollout.rollout.Rollout` that this stage uses."""

    def in_force(self) -> Assignment: ...

    def promote(self, adapter: str, *, actor: str, reason: str) -> object: ...


class Promote:
    """Promotes through the rollout's own checks. Raises their refusals: a halt makes it wait."""

    def __init__(self, *, store: Store, rollout: Promoter, actor: str = "gate") -> None:
        self._store = store
        self._rollout = rollout
        self._actor = actor

    def step(self) -> int:
        """Promotes at most one adapter; returns how many."""
        evaluation = self._store.read(newest_passed)
        if evaluation is None:
            return 0
        if evaluation.agent_version not in {None, self._store.read(current)}:
            return 0
        served = {change.stable for change in self._store.read(changes)}
        if evaluation.adapter in served or evaluation.stable != self._rollout.in_force().stable:
            return 0
        reason = f"gate {evaluation.id}: {evaluation.reasons[0]}" if evaluation.reasons else "passed the gate"
        self._rollout.promote(evaluation.adapter, actor=self._actor, reason=reason)
        return 1

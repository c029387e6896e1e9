"""What is told of the rollout: metrics and log lines, each condition once for as long as it holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from daemon import log
from daemon.metrics.registry import Metrics
from daemon.stages.rollout.admission import AdapterRefusal
from daemon.stages.rollout.mirror import Condition
from daemon.store.rollouts import Change
from policies.rollout import Assignment, ChangeKind, ConditionKind


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The state after a look. `in_sync`: what is in force is what the target serves, with intact files."""

    in_sync: bool
    stable: str | None
    epoch: int
    conditions: tuple[Condition, ...]


class Told:
    """Tells what changed since the last look."""

    def __init__(self, metrics: Metrics, *, targets: Sequence[str]) -> None:
        self._metrics = metrics
        self._targets = tuple(targets)
        self._log = log.get("rollout")
        self._counted: int | None = None
        self._refused: tuple[str, AdapterRefusal] | None = None
        self._shown: str | None = None
        self.conditions: tuple[Condition, ...] = ()

    def refused(self, refusal: AdapterRefusal, content: str | None = None) -> None:
        """Counts a refusal; one that a file asks for, once per content of the file."""
        if content is not None:
            if self._refused == (content, refusal):
                return
            self._refused = (content, refusal)
        self._metrics.rollout_refused.labels(refusal.kind).inc()

    def changed(self, state: Assignment, changes: Sequence[Change]) -> None:
        """Counts the changes of all processes since the first look. `changes` come newest first."""
        if self._counted is None:
            self._counted = state.epoch
        formerly: set[str | None] = {None}
        for change in reversed(changes):
            if change.epoch > self._counted:
                way = ChangeKind.ROLLBACK if change.stable in formerly else ChangeKind.PROMOTE
                self._metrics.promotions.labels(way).inc()
                self._log.info(
                    "rollout_changed",
                    kind=way.value,
                    epoch=change.epoch,
                    stable=change.stable,
                    previous=change.previous,
                    actor=change.actor,
                )
            formerly.add(change.stable)
        self._counted = state.epoch

    def reconciled(self, found: Reconciliation) -> Reconciliation:
        """Sets the gauges, logs the conditions that are new, and returns what it was given."""
        self._metrics.rollout_ok.set(found.in_sync)
        self._metrics.rollout_epoch.set(found.epoch)
        amiss = {condition.target for condition in found.conditions}
        for target in self._targets:
            self._metrics.target_ok.labels(target).set(
                target not in amiss and (found.in_sync or bool(amiss - {""}))
            )
        stable = found.stable or "base"
        if self._shown not in {None, stable}:
            self._metrics.adapter_info.remove("stable", self._shown)
        self._metrics.adapter_info.labels("stable", stable).set(1)
        self._shown = stable
        holding = {condition.kind for condition in found.conditions}
        for kind in ConditionKind:
            self._metrics.rollout_condition.labels(kind).set(kind in holding)
        for condition in found.conditions:
            if condition not in self.conditions:
                self._log.warning(
                    "rollout_condition",
                    condition=condition.kind.value,
                    reason=condition.message,
                    target=condition.target,
                )
        self.conditions = found.conditions
        return found

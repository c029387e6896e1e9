"""The watch stage: what the store says of judges, rewards and policies becomes gauges and, if need be, halts.

A standing condition is one halt for as long as it is latched. When an operator resumes it, the rule starts
over: only labels and rewards that came after the resume count for it, and it needs its full minimum of them.
So a resume holds until new evidence says otherwise. The gauges go on showing the whole window.

The ledger's head is logged once an hour: kept with the logs, it shows a tail that was cut in the database
(`daemon.store.ledger`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from daemon.budget import Budget
from daemon.clock import Clock
from daemon.latch import Latch
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.stages.gate.evidence import show_figures
from daemon.store import alignment, evaluations, ledger, rollouts, snapshots, tally
from daemon.store.evaluations import Evaluation
from daemon.store.ledger import Head
from daemon.store.store import Store
from daemon.store.tally import Tally
from policies.alignment import Alignment
from policies.halts import AlignmentFloor, HaltEvidence, RewardSpreadFloor, Spread, evaluate, rules_for
from policies.policy import PolicySpec
from policies.records import Halt, Role
from policies.selection import Reason

log = get("watch")

RECENT_EVALUATIONS = 20
"""Attempts looked through for the last one that was measured."""
HEAD_S = 3600.0
"""Between two log lines with the ledger's head."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What labels, verdicts and resumes amount to, and the mark of the state it was measured on."""

    mark: tuple[Any, ...]
    alignment: dict[Role, Alignment]
    rewards: dict[Role, Spread]
    flips: dict[Role, float | None]
    evidence: HaltEvidence


@dataclass(frozen=True, slots=True)
class _Seen:
    """One consistent look at the store."""

    measured: _Measured
    counts: Tally
    snapshot: snapshots.Tally | None
    evaluations: list[Evaluation]
    changed_at: float | None
    head: Head


class Watch:
    """Reads the store, sets the gauges and applies the halt rules. Its first step comes before /metrics.

    What nothing was added to is not measured again.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        spec: PolicySpec,
        versions: Mapping[Role, str],
        latch: Latch,
        budget: Budget,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._spec = spec
        self._versions = versions
        self._latch = latch
        self._budget = budget
        self._rules = rules_for(spec.halts, tuple(versions))
        self._measured: _Measured | None = None
        self._head_logged_at: float | None = None

    def step(self) -> int:
        """Refreshes the gauges and latches what the rules ask for; answers how many halts are new."""
        seen = self._store.read(self._look)
        self._measured = seen.measured
        self._show(seen)
        self._log_head(seen.head)
        new = sum(self._latched(halt) for halt in evaluate(self._rules, seen.measured.evidence))
        self._metrics.refresh_timestamp.set(self._clock.now())
        return new

    def _latched(self, halt: Halt) -> bool:
        return self._latch.halt(
            halt.scope, reason=halt.reason, source="guard", actor="watch", fingerprint=fingerprint(halt.rule)
        )

    def _look(self, connection: Connection) -> _Seen:
        mark = alignment.mark(connection)
        last = self._measured
        return _Seen(
            measured=last if last is not None and last.mark == mark else self._measure(connection, mark),
            counts=tally.read(connection),
            snapshot=snapshots.newest(connection),
            evaluations=evaluations.recent(connection, limit=RECENT_EVALUATIONS),
            changed_at=next((change.at for change in rollouts.changes(connection, limit=1)), None),
            head=ledger.head(connection),
        )

    def _log_head(self, head: Head) -> None:
        now = self._clock.monotonic()
        if self._head_logged_at is None or now - self._head_logged_at >= HEAD_S:
            self._head_logged_at = now
            log.info("ledger_head_noted", entries=head.seq, hash=head.hash)

    def _measure(self, connection: Connection, mark: tuple[Any, ...]) -> _Measured:
        scoring: list[Role] = [role for role in self._versions if role is not Role.GATE]
        comparing: list[Role] = [role for role in self._versions if role is not Role.SMALL]
        aligned = {role: self._alignment(connection, role, since=None) for role in self._versions}
        rewards = {role: self._spread(connection, role, since=None) for role in scoring}
        return _Measured(
            mark=mark,
            alignment=aligned,
            rewards=rewards,
            flips={role: self._flips(connection, role) for role in comparing},
            evidence=self._evidence(connection, aligned, rewards),
        )

    def _evidence(
        self, connection: Connection, aligned: dict[Role, Alignment], rewards: dict[Role, Spread]
    ) -> HaltEvidence:
        """The same measurements; where a rule was resumed, on what came after that."""
        limits = self._spec.halts
        aligned, rewards = dict(aligned), dict(rewards)
        for role in aligned:
            since = alignment.resumed_at(connection, fingerprint(AlignmentFloor(role, limits).name))
            if since is not None:
                aligned[role] = self._alignment(connection, role, since=since)
        for role in rewards:
            since = alignment.resumed_at(connection, fingerprint(RewardSpreadFloor(role, limits).name))
            if since is not None:
                rewards[role] = self._spread(connection, role, since=since)
        return HaltEvidence(alignment=aligned, rewards=rewards)

    def _flips(self, connection: Connection, role: Role) -> float | None:
        window = self._spec.halts.reward_window
        return alignment.flip_ratio(connection, role, self._versions[role], window=window)

    def _spread(self, connection: Connection, role: Role, *, since: float | None) -> Spread:
        window = self._spec.halts.reward_window
        return alignment.spread(connection, role, self._versions[role], window=window, since=since)

    def _alignment(self, connection: Connection, role: Role, *, since: float | None) -> Alignment:
        limits = self._spec.halts
        return alignment.measure(
            connection,
            role,
            self._versions[role],
            limit=limits.min_alignment,
            min_labels=limits.alignment_min_labels,
            window=limits.alignment_window,
            min_gap=self._spec.curation.min_margin,
            since=since,
        )

    def _show(self, seen: _Seen) -> None:
        metrics = self._metrics
        metrics.alignment_limit.set(self._spec.halts.min_alignment)
        metrics.reward_sd_limit.set(self._spec.halts.min_reward_sd)
        metrics.preferences.set(seen.counts.of("preference"))
        queue = seen.counts.open()
        if (snapshot := seen.snapshot) is not None:
            metrics.snapshot_pairs.set(snapshot.pairs)
            for why in Reason:
                metrics.snapshot_left_out.labels(why).set(snapshot.left_out.get(why, 0))
        metrics.ledger_entries.set(seen.head.seq)
        for role, found in seen.measured.alignment.items():
            self._show_alignment(role, found)
            metrics.queue.labels(role).set(queue.get(role.value, 0))
            self._budget.spent_today(role.value)  # else the gauge keeps yesterday's sum until the next call
            given = seen.counts.verdicts.get((role.value, self._versions[role]))
            if found.labels and given is not None and given.first_at is not None:
                metrics.version_since.labels(role).set(given.first_at)
        for role, spread in seen.measured.rewards.items():
            metrics.reward_sd.labels(role).set(_or_nan(spread.deviation))
        for role, flips in seen.measured.flips.items():
            metrics.flips.labels(role).set(_or_nan(flips))
        if seen.changed_at is not None:
            metrics.rollout_changed.set(seen.changed_at)
        self._show_evaluations(seen.evaluations)

    def _show_alignment(self, role: Role, found: Alignment) -> None:
        """Nothing measured is NaN, never 0: an alert on a low ratio must not fire on an unknown one."""
        known = found.ratio is not None
        metrics = self._metrics
        metrics.alignment.labels(role).set(_or_nan(found.ratio))
        metrics.alignment_lower.labels(role).set(found.lower if known else math.nan)
        metrics.alignment_upper.labels(role).set(found.upper if known else math.nan)
        metrics.alignment_labels.labels(role).set(found.labels)
        metrics.alignment_coverage.labels(role).set(_or_nan(found.coverage))

    def _show_evaluations(self, newest_first: list[Evaluation]) -> None:
        """The last attempt that was measured, and the last win rate, so that a restart shows them again."""
        for each in newest_first:
            if each.evidence.get("entropy_candidate_nats") is not None:
                show_figures(self._metrics, each.evidence)
                break
        for each in newest_first:
            if each.evidence.get("win_rate") is not None:
                self._metrics.win_rate.set(each.evidence["win_rate"])
                self._metrics.win_rate_lower.set(each.evidence["win_rate_lower"])
                break


def fingerprint(rule: str) -> str:
    """What a rule's halts are latched under."""
    return f"guard:{rule}"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value

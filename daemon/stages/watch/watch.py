"""The watch stage: what the store says of judges, rewards and policies becomes gauges and, if need be, halts.

A standing condition is one halt for as long as it is latched. When an operator resumes it, the rule starts
over: only labels and rewards that came after the resume count for it, and it needs its full minimum of them.
So a resume holds until new evidence says otherwise. The gauges go on showing the whole window.

The ledger's head is logged once an hour: kept with the logs, it shows a tail that was cut in the database
(`daemon.store.ledger`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from daemon.budget import Budget
from daemon.clock import Clock
from daemon.latch import Latch
from daemon.log import get
from daemon.metrics.figures import show_figures
from daemon.metrics.registry import Metrics
from daemon.stages.watch.opinions import Listening, Opinions
from daemon.store import agentversions, alignment, evaluations, ledger, rollouts, snapshots, tally
from daemon.store.evaluations import Evaluation
from daemon.store.ledger import Head
from daemon.store.rewardmodels import Awaited, awaited
from daemon.store.store import Store
from daemon.store.tally import Tally
from policies.agentversion import newest_five
from policies.alignment import Alignment
from policies.halts import AlignmentFloor, HaltEvidence, RewardSpreadFloor, Spread, evaluate, rules_for
from policies.judging.judges import NamedJudge, of_roles
from policies.policy import PolicySpec
from policies.records import Halt, Role
from policies.selection import Reason
from policies.states import HaltSource

log = get("watch")

RECENT_EVALUATIONS = 20
"""Attempts looked through for the last one that was measured."""
HEAD_S = 3600.0
"""Between two log lines with the ledger's head."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What labels, verdicts and resumes amount to, and the mark of the state it was measured on."""

    mark: tuple[Any, ...]
    alignment: dict[NamedJudge, Alignment]
    rewards: dict[NamedJudge, Spread]
    flips: dict[NamedJudge, float | None]
    evidence: HaltEvidence


@dataclass(frozen=True, slots=True)
class _Look:
    """One consistent look at the store."""

    measured: _Measured
    counts: Tally
    snapshot: snapshots.SnapshotTally | None
    awaited: Awaited | None
    evaluations: list[Evaluation]
    changed_at: float | None
    head: Head
    agents: dict[str, int]
    untold: dict[str, bool]
    opinions: Opinions | None


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
        judges: Sequence[NamedJudge],
        latch: Latch,
        budget: Budget,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._spec = spec
        self._judges = judges
        self._latch = latch
        self._budget = budget
        self._rules = rules_for(spec.halts, judges)
        self._listening = Listening(clock=clock, metrics=metrics, spec=spec)
        self._measured: _Measured | None = None
        self._head_logged_at: float | None = None
        self._agents: set[str] = set()

    def step(self) -> int:
        """Refreshes the gauges and latches what the rules ask for; returns how many halts are new."""
        seen = self._store.read(self._look)
        self._measured = seen.measured
        self._show(seen)
        self._log_head(seen.head)
        new = sum(self._latched(halt) for halt in evaluate(self._rules, seen.measured.evidence))
        self._metrics.refresh_timestamp.set(self._clock.now())
        return new

    def _latched(self, halt: Halt) -> bool:
        return self._latch.halt(
            halt.scope,
            reason=halt.reason,
            source=HaltSource.GUARD,
            actor="watch",
            fingerprint=fingerprint(halt.rule),
        )

    def _look(self, connection: Connection) -> _Look:
        mark = alignment.mark(connection)
        last = self._measured
        return _Look(
            measured=last if last is not None and last.mark == mark else self._measure(connection, mark),
            counts=tally.read(connection),
            snapshot=snapshots.newest(connection),
            awaited=awaited(connection, self._spec.recipes),
            evaluations=evaluations.recent(connection, limit=RECENT_EVALUATIONS),
            changed_at=next((change.at for change in rollouts.changes(connection, limit=1)), None),
            head=ledger.head(connection),
            agents=newest_five(agentversions.shares(connection)),
            untold=agentversions.untold(connection),
            opinions=self._listening.look(connection),
        )

    def _log_head(self, head: Head) -> None:
        now = self._clock.monotonic()
        if self._head_logged_at is None or now - self._head_logged_at >= HEAD_S:
            self._head_logged_at = now
            log.info("ledger_head_noted", entries=head.seq, hash=head.hash)

    def _measure(self, connection: Connection, mark: tuple[Any, ...]) -> _Measured:
        scoring = of_roles(self._judges, Role.SMALL, Role.LARGE)
        comparing = of_roles(self._judges, Role.LARGE, Role.GATE)
        aligned = {judge: self._alignment(connection, judge, since=None) for judge in self._judges}
        rewards = {judge: self._spread(connection, judge, since=None) for judge in scoring}
        return _Measured(
            mark=mark,
            alignment=aligned,
            rewards=rewards,
            flips={judge: self._flips(connection, judge) for judge in comparing},
            evidence=self._evidence(connection, aligned, rewards),
        )

    def _evidence(
        self,
        connection: Connection,
        aligned: dict[NamedJudge, Alignment],
        rewards: dict[NamedJudge, Spread],
    ) -> HaltEvidence:
        """The same measurements; where a rule was resumed, on what came after that."""
        limits = self._spec.halts
        aligned, rewards = dict(aligned), dict(rewards)
        for judge in aligned:
            since = alignment.resumed_at(connection, fingerprint(AlignmentFloor(judge, limits).name))
            if since is not None:
                aligned[judge] = self._alignment(connection, judge, since=since)
        for judge in rewards:
            since = alignment.resumed_at(connection, fingerprint(RewardSpreadFloor(judge, limits).name))
            if since is not None:
                rewards[judge] = self._spread(connection, judge, since=since)
        return HaltEvidence(alignment=aligned, rewards=rewards)

    def _flips(self, connection: Connection, judge: NamedJudge) -> float | None:
        window = self._spec.halts.reward_window
        return alignment.flip_ratio(connection, judge, window=window)

    def _spread(self, connection: Connection, judge: NamedJudge, *, since: float | None) -> Spread:
        window = self._spec.halts.reward_window
        return alignment.spread(connection, judge, window=window, since=since)

    def _alignment(self, connection: Connection, judge: NamedJudge, *, since: float | None) -> Alignment:
        limits = self._spec.halts
        return alignment.measure(
            connection,
            judge,
            limit=limits.min_alignment,
            min_labels=limits.alignment_min_labels,
            window=limits.alignment_window,
            min_gap=self._spec.curation.min_margin,
            since=since,
        )

    def _show(self, seen: _Look) -> None:
        metrics = self._metrics
        metrics.alignment_limit.set(self._spec.halts.min_alignment)
        metrics.reward_sd_limit.set(self._spec.halts.min_reward_sd)
        metrics.preferences.set(seen.counts.of("preference"))
        queue = seen.counts.open()
        if (snapshot := seen.snapshot) is not None:
            metrics.snapshot_pairs.set(snapshot.pairs)
            for why in Reason:
                metrics.snapshot_left_out.labels(why).set(snapshot.left_out.get(why, 0))
        metrics.reward_model_missing.set(_missing(seen.awaited))
        metrics.ledger_entries.set(seen.head.seq)
        for judge, found in seen.measured.alignment.items():
            self._show_alignment(judge, found)
            metrics.queue.labels(*judge.labels).set(queue.get(judge.name, 0))
            self._budget.spent_today(judge)  # else the gauge keeps yesterday's sum until the next call
            given = seen.counts.verdicts.get((judge.name, judge.version))
            if found.labels and given is not None and given.first_at is not None:
                metrics.version_since.labels(*judge.labels).set(given.first_at)
        for judge, spread in seen.measured.rewards.items():
            metrics.reward_sd.labels(*judge.labels).set(_or_nan(spread.deviation))
        for judge, flips in seen.measured.flips.items():
            metrics.flips.labels(*judge.labels).set(_or_nan(flips))
        if seen.changed_at is not None:
            metrics.rollout_changed.set(seen.changed_at)
        self._show_agents(seen)
        self._listening.show(seen.opinions)
        self._show_evaluations(seen.evaluations)

    def _show_agents(self, seen: _Look) -> None:
        """The versions in the traffic; a version that has left it has no series any more."""
        for gone in self._agents - seen.agents.keys():
            self._metrics.agent_versions.remove(gone)
        self._agents = set(seen.agents)
        for version, traces in seen.agents.items():
            self._metrics.agent_versions.labels(version).set(traces)
        for source, lost in seen.untold.items():
            self._metrics.agent_versions_lost.labels(source).set(lost)

    def _show_alignment(self, judge: NamedJudge, found: Alignment) -> None:
        """Nothing measured is NaN, never 0: an alert on a low ratio must not fire on an unknown one."""
        known = found.ratio is not None
        metrics = self._metrics
        metrics.alignment.labels(*judge.labels).set(_or_nan(found.ratio))
        metrics.alignment_lower.labels(*judge.labels).set(found.lower if known else math.nan)
        metrics.alignment_upper.labels(*judge.labels).set(found.upper if known else math.nan)
        metrics.alignment_labels.labels(*judge.labels).set(found.labels)
        metrics.alignment_coverage.labels(*judge.labels).set(_or_nan(found.coverage))

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


def _missing(found: Awaited | None) -> float:
    """Labels that a held reward model lacks; NaN where nothing waits for one."""
    if found is None or found.name is None:
        return math.nan
    return math.inf if found.missing is None else found.missing


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value

"""The plan: which logged answers small judges score, and which of them large judges audit."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.store import judgements
from daemon.store.judgements import Unplanned, Wanted
from daemon.store.store import Store
from policies.judging.judges import NamedJudge
from policies.policy import JudgingRule
from policies.records import Role
from policies.sampling import chosen
from policies.states import Purpose

BATCH = 500
"""Traces decided on in one transaction."""


class Plan:
    """Decides once for each stored trace what to judge of its logged answer.

    The choice is a hash of the event id: every daemon and every run decides alike, and natural keys make a
    second decision the same as the first. The probability it was made with is recorded. `step()` answers how
    many traces it decided on.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        rule: JudgingRule,
        judges: Collection[NamedJudge],
        batch: int = BATCH,
    ) -> None:
        self._store = store
        self._clock = clock
        self._batch = batch
        rates: Mapping[Role, tuple[Purpose, float]] = {
            Role.SMALL: (Purpose.TRAFFIC, rule.small_rate),
            Role.LARGE: (Purpose.AUDIT, rule.audit_rate),
        }
        self._rates = tuple((judge, *rates[judge.role]) for judge in judges if judge.role in rates)

    def step(self) -> int:
        """One batch, oldest traces first."""
        return self._store.write(self._decide)

    def _decide(self, connection: Connection) -> int:
        now = self._clock.now()
        traces = judgements.unplanned(connection, limit=self._batch)
        if not traces:
            return 0
        judgements.request(connection, [each for trace in traces for each in self._wanted(trace)], now)
        judgements.mark_planned(connection, [trace.trace_id for trace in traces], now)
        return len(traces)

    def _wanted(self, trace: Unplanned) -> list[Wanted]:
        if trace.candidate_id is None:
            return []
        return [
            Wanted(judge, "score", purpose, trace.trace_id, trace.candidate_id, probability=rate)
            for judge, purpose, rate in self._rates
            if chosen(trace.event_id, purpose, rate)
        ]

"""Traces from spans: parts become traces once they are complete, and again when one comes late."""

from dataclasses import dataclass, field
from functools import partial
from typing import Self

from sqlalchemy import Connection

from connectors.decoders.tools import tied
from daemon import log
from daemon.clock import Clock
from daemon.stages.ingest.bad_rows import of_the_data, reason
from daemon.store import spans
from daemon.store.store import Store
from daemon.store.traces import Counts, store_traces
from policies.agentversion import Rule
from policies.joining import joined
from policies.policy import Splits
from policies.records import Trace
from policies.sampling import kept
from policies.spans import JoinRule

LOOK_S = 1.0
"""How often it is looked for what is complete."""
AT_ONCE = 200
"""Traces of one transaction."""
KEPT_S = 86_400.0
"""How long parts are kept for one that comes late."""
FORGET_S = 600.0


@dataclass(slots=True)
class JoinCounts:
    """What became of complete traces. `steps` are calls that a later one holds, `blank` those whose content
    never came; of the answers `cut` were cut off, and the newest is of `newest`, in seconds since the epoch.
    """

    counts: Counts = field(default_factory=Counts)
    traces: int = 0
    steps: int = 0
    blank: int = 0
    answers: int = 0
    cut: int = 0
    newest: float = 0.0

    def __iadd__(self, other: "JoinCounts") -> Self:
        self.counts += other.counts
        self.traces += other.traces
        self.steps += other.steps
        self.blank += other.blank
        self.answers += other.answers
        self.cut += other.cut
        self.newest = max(self.newest, other.newest)
        return self


class Joining:
    """Joins the open spans of one source. Used by one thread at a time; several daemons may join one source.

    Joining the same parts again gives the same traces, so that a kill before the commit costs nothing.
    """

    def __init__(
        self,
        *,
        source: str,
        store: Store,
        clock: Clock,
        splits: Splits,
        rule: JoinRule | None = None,
        versions: Rule = "auto",
        keep: float = 1.0,
    ) -> None:
        self._source, self._store, self._clock, self._splits = source, store, clock, splits
        self._rule = rule or JoinRule()
        self._versions: Rule = versions
        self._keep = keep
        self._look_at = float("-inf")
        self._forget_at = clock.monotonic() + FORGET_S
        self._log = log.get("ingest").bind(source=source)

    def step(self, *, at_once: bool = False) -> JoinCounts:
        """Joins what is complete; returns what became of it. Looks at most every `LOOK_S`.

        `at_once`: now, and whatever is open is complete.
        """
        total, now = JoinCounts(), self._clock.monotonic()
        if now < self._look_at and not at_once:
            return total
        rule = JoinRule(quiet_s=0.0) if at_once else self._rule
        while self._any_open():
            found = self._batch(rule)
            total += found
            if found.traces < AT_ONCE:
                break
        if now >= self._forget_at:
            self._forget_at = now + FORGET_S
            before = self._clock.now() - KEPT_S
            self._store.write(lambda c: spans.forget(c, self._source, before))
        self._look_at = now + LOOK_S
        return total

    def _any_open(self) -> bool:
        return self._store.read(lambda c: spans.any_open(c, self._source))

    def _batch(self, rule: JoinRule) -> JoinCounts:
        """One transaction's traces. Where the database refuses one, each is joined by itself."""
        try:
            return self._store.write(partial(self._join, rule=rule, limit=AT_ONCE))
        except Exception as error:
            if not of_the_data(error):
                raise
        total = JoinCounts()
        for _ in range(AT_ONCE):
            found = self._one(rule)
            total += found
            if not found.traces:
                break
        return total

    def _one(self, rule: JoinRule) -> JoinCounts:
        try:
            return self._store.write(partial(self._join, rule=rule, limit=1))
        except Exception as error:
            if not of_the_data(error):
                raise
            why = reason(error)
        refused = self._store.write(partial(self._refuse, rule=rule, why=why))
        self._log.warning("joined_trace_refused", trace=refused, reason=why)
        return JoinCounts(traces=1)

    def _join(self, connection: Connection, *, rule: JoinRule, limit: int) -> JoinCounts:
        now = self._clock.now()
        parts = spans.complete(connection, self._source, rule, now, limit=limit)
        made = [joined(each.spans) for each in parts]
        whole = [_tied(trace) for each in made for trace in each.traces]
        traces = [trace for trace in whole if kept(trace, self._keep)]
        counts = store_traces(
            connection,
            source=self._source,
            traces=traces,
            splits=self._splits,
            now=now,
            versions=self._versions,
            keep=self._keep,
        )
        for each, found in zip(parts, made, strict=True):
            spans.name(connection, self._source, each.trace_id, found.events)
        counts.skipped += len(whole) - len(traces)
        spans.close(connection, parts, now)
        return JoinCounts(
            counts,
            traces=len(parts),
            steps=sum(each.steps for each in made),
            blank=sum(each.blank for each in made),
            answers=len(traces),
            cut=sum(trace.truncated for trace in traces),
            newest=max((trace.ts for trace in traces), default=0.0),
        )

    def _refuse(self, connection: Connection, *, rule: JoinRule, why: str) -> str:
        now = self._clock.now()
        parts = spans.complete(connection, self._source, rule, now, limit=1)
        spans.close(connection, parts, now, refused=why)
        return ", ".join(each.trace_id for each in parts)


def _tied(trace: Trace) -> Trace:
    """The trace with its tools' results tied to their calls: messages that were logged one by one are not."""
    messages, output = tied(trace.messages, trace.output)
    return trace.model_copy(update={"messages": messages, "output": output})

"""Alertmanager's payloads into halts: one transaction a payload, one step back a cause."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from daemon.clock import Clock
from daemon.errors import RefusedError, line_of
from daemon.latch import Latch
from daemon.log import Logger
from daemon.metrics.registry import Metrics
from daemon.store.halts import HaltRequest
from daemon.store.store import StoreError
from daemon.web.payload import Alert, digest, parse
from policies.records import Scope
from policies.states import AlertResult, HaltSource

WATCHDOG = "RlaifdWatchdog"
ROLLBACK = "rollback"
ACTOR = "alertmanager"
MOST_ALERTS = 200
"""Different alerts of a payload that are halts of their own. Where there are more, each scope is one halt."""


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """How many alerts ended how. Not settled: something is not committed and must be sent again."""

    counts: dict[str, int]

    @property
    def settled(self) -> bool:
        return AlertResult.UNAVAILABLE not in self.counts


class Alerts:
    """Takes payloads in. Calls must come one at a time: the listener gives it a thread of its own.

    `rollback(reason, epoch)` moves serving one step back if that epoch is in force. It is called for a firing
    alert with `halts: rollback`, after promotion is halted, while the cause has moved nothing yet
    (`Latch.leaves`): no repeat, no other alert and no restart goes a step further, and a kill or a failure
    between halt and rollback is made good when the alert is sent again.
    """

    def __init__(
        self,
        *,
        latch: Latch,
        rollback: Callable[[str, int], object],
        metrics: Metrics,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._latch = latch
        self._rollback = rollback
        self._metrics = metrics
        self._clock = clock
        self._log = log

    def receive(self, body: bytes) -> AlertCounts:
        """Handles one payload. Raises NotAlertmanagerError, and nothing else."""
        found = parse(body)
        alerts = [alert for alert in found if alert is not None]
        counts: Counter[AlertResult] = Counter()
        counts[AlertResult.MALFORMED] = len(found) - len(alerts)
        if counts[AlertResult.MALFORMED]:
            self._log.warning("alerts_malformed", count=counts[AlertResult.MALFORMED])
        counts[AlertResult.IGNORED] = sum(not alert.scope and alert.name != WATCHDOG for alert in alerts)
        counts[AlertResult.HEARTBEAT] = self._beat(alerts)
        counts += self._stop([alert for alert in alerts if alert.scope and alert.name != WATCHDOG])
        for result, count in counts.items():
            self._metrics.alerts.labels(result).inc(count)
        return AlertCounts({str(result): count for result, count in sorted(counts.items()) if count})

    def _beat(self, alerts: Iterable[Alert]) -> int:
        beats = [alert.firing for alert in alerts if alert.name == WATCHDOG]
        if any(beats):
            self._metrics.alert_heartbeat.set(self._clock.now())
        return len(beats)

    def _stop(self, alerts: Sequence[Alert]) -> Counter[AlertResult]:
        """Halts what the firing alerts say, all or nothing, then moves serving back if one says so."""
        firing = [alert for alert in alerts if alert.firing]
        resolved = {(alert.fingerprint, alert.starts_at) for alert in alerts if not alert.firing}
        wanted = {alert.key: alert for alert in firing}
        if len(wanted) > MOST_ALERTS:
            wanted = {alert.key: alert for alert in folded(list(wanted.values()))}
        counts: Counter[AlertResult] = Counter()
        try:
            new = self._latch.take(
                [_request(alert) for alert in wanted.values()], cleared=sorted(resolved)[:MOST_ALERTS]
            )
            for alert in wanted.values():
                if alert.scope == ROLLBACK:
                    self._step_back(alert)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is sent again
            is_ours = isinstance(error, StoreError)
            self._log.error(
                "alerts_not_stored",
                alerts=len(alerts),
                error=line_of(error),
                exc_info=None if is_ours else error,
            )
            counts[AlertResult.UNAVAILABLE] = len(alerts)
            return counts
        counts[AlertResult.RESOLVED] = len(alerts) - len(firing)
        counts[AlertResult.HALTED] = sum(new)
        counts[AlertResult.REPEATED] = len(firing) - counts[AlertResult.HALTED]
        return counts

    def _step_back(self, alert: Alert) -> None:
        epoch = self._latch.leaves(alert.evidence)
        if epoch is None:
            return
        try:
            self._rollback(alert.reason, epoch)
        except RefusedError as error:
            self._log.warning("rollback_refused", alert=alert.name, reason=line_of(error))


def folded(alerts: Sequence[Alert]) -> list[Alert]:
    """One alert a scope for a payload that has too many, and one for promotion in any case.

    The same payload gives the same alerts. What it says of `rollback` stays what it is.
    """
    why = (
        f"{len(alerts)} alerts in one payload, more than {MOST_ALERTS}: promotion is halted whatever they are"
    )
    since = max(alert.starts_at for alert in alerts) or digest(sorted(alert.fingerprint for alert in alerts))
    first = replace(alerts[0], scope=Scope.PROMOTION.value, evidence=None)
    by_scope = {Scope.PROMOTION.value: replace(first, reason=f"{first.reason} ({why})")}
    for alert in alerts:
        scope = alert.scope if alert.scope in {ROLLBACK, *Scope} else Scope.PROMOTION.value
        by_scope.setdefault(scope, replace(alert, reason=f"{alert.reason} ({why})"))
    return [
        replace(alert, scope=scope, fingerprint=f"many:{scope}", starts_at=since, evidence=None)
        for scope, alert in by_scope.items()
    ]


def _request(alert: Alert) -> HaltRequest:
    scope, reason = _scope(alert)
    return HaltRequest(
        scope, reason, HaltSource.ALERT, ACTOR, alert.fingerprint, alert.starts_at, evidence=alert.evidence
    )


def _scope(alert: Alert) -> tuple[Scope, str]:
    if alert.scope == ROLLBACK:
        return Scope.PROMOTION, alert.reason
    try:
        return Scope(alert.scope), alert.reason
    except ValueError:
        return Scope.PROMOTION, f"{alert.reason} (unknown scope {alert.scope!r}: promotion is halted)"

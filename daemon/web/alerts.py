"""Alertmanager's webhook (payload version 4) into halts.

Strict about nothing but the outer shape: an alert that says it halts, halts. What is missing or odd in it is
made up for in the direction of stopping, and one bad alert never costs the others.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from daemon.clock import Clock
from daemon.errors import RefusedError
from daemon.latch import Latch
from daemon.log import Logger
from daemon.loops import line_of
from daemon.metrics import Metrics
from daemon.store.store import StoreError
from policies.records import Scope

WATCHDOG = "RlaifdWatchdog"
ROLLBACK = "rollback"
ACTOR = "alertmanager"
LONGEST = 200

Result = Literal["halted", "repeated", "resolved", "heartbeat", "ignored", "malformed", "unavailable"]


class NotAlertmanagerError(ValueError):
    """The body is not an Alertmanager payload at all."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What an alert asks for. `scope` is the `halts` label as written, "" when there is none."""

    name: str
    firing: bool
    scope: str
    reason: str
    fingerprint: str
    starts_at: str


@dataclass(frozen=True, slots=True)
class Received:
    """How many alerts ended how. Not settled: something is not committed and must be sent again."""

    counts: dict[str, int]

    @property
    def settled(self) -> bool:
        return "unavailable" not in self.counts


class Alerts:
    """Takes payloads in. Calls must come one at a time: the listener gives it a thread of its own.

    `rollback(reason)` re-points serving. It is called for a firing alert with `halts: rollback`, after
    promotion is halted, and again when the alert is sent again while its halt is active and nothing came into
    force since: a kill or a failure between the two is made good, and no repeat goes one step further.
    `changed_at()` is when the adapter in force last changed, in seconds since the epoch; None: never.
    """

    def __init__(
        self,
        *,
        latch: Latch,
        rollback: Callable[[str], object],
        changed_at: Callable[[], float | None],
        metrics: Metrics,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._latch = latch
        self._rollback = rollback
        self._changed_at = changed_at
        self._metrics = metrics
        self._clock = clock
        self._log = log

    def receive(self, body: bytes) -> Received:
        """Handles one payload. Raises NotAlertmanagerError, and nothing else."""
        # A rollback waits for its turn at the rollout's lock; no halt waits behind it.
        alerts = sorted(parse(body), key=lambda alert: alert is not None and alert.scope == ROLLBACK)
        counts: Counter[Result] = Counter()
        for alert in alerts:
            result = self._take(alert)
            counts[result] += 1
            self._metrics.alerts.labels(result).inc()
        return Received({str(result): count for result, count in sorted(counts.items())})

    def _take(self, alert: Alert | None) -> Result:
        if alert is None:
            self._log.warning("alert_malformed")
            return "malformed"
        try:
            return self._act(alert)
        except StoreError as error:
            self._log.error("alert_not_stored", alert=alert.name, error=line_of(error))
        except Exception as error:  # noqa: BLE001 - the other alerts of the payload must not be lost
            self._log.error("alert_failed", alert=alert.name, error=line_of(error), exc_info=error)
        return "unavailable"

    def _act(self, alert: Alert) -> Result:
        if alert.name == WATCHDOG:
            if alert.firing:
                self._metrics.alert_heartbeat.set(self._clock.now())
            return "heartbeat"
        if not alert.scope:
            return "ignored"
        if not alert.firing:
            self._latch.clear(alert.fingerprint, alert.starts_at)
            self._log.info("alert_resolved", alert=alert.name, fingerprint=alert.fingerprint)
            return "resolved"
        if alert.scope == ROLLBACK:
            return self._roll_back(alert)
        return "halted" if self._halt(*_scope(alert), alert) else "repeated"

    def _halt(self, scope: Scope, reason: str, alert: Alert) -> bool:
        return self._latch.halt(
            scope,
            reason=reason,
            source="alert",
            actor=ACTOR,
            fingerprint=alert.fingerprint,
            starts_at=alert.starts_at,
        )

    def _roll_back(self, alert: Alert) -> Result:
        """Halts promotion, then rolls back, if that was not done for this halt yet."""
        new = self._halt(Scope.PROMOTION, alert.reason, alert)
        if new or self._owes_rollback(alert):
            try:
                self._rollback(alert.reason)
            except RefusedError as error:
                self._log.warning("rollback_refused", alert=alert.name, reason=line_of(error))
        return "halted" if new else "repeated"

    def _owes_rollback(self, alert: Alert) -> bool:
        """The alert's halt is active, and nothing else came into force since it was latched."""
        latched = [
            halt.created_at
            for halt in self._latch.active()
            if (halt.scope, halt.fingerprint) == (Scope.PROMOTION, alert.fingerprint)
            and alert.starts_at in {"", halt.starts_at}
        ]
        changed_at = self._changed_at()
        return bool(latched) and (changed_at is None or changed_at < max(latched))


def parse(body: bytes) -> list[Alert | None]:
    """The alerts of a payload, None for what is no alert. Raises NotAlertmanagerError."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAlertmanagerError("not JSON") from error
    if not isinstance(payload, dict) or not isinstance(payload.get("alerts"), list):
        raise NotAlertmanagerError("no list `alerts`")
    alerts: list[Alert | None] = [_alert(item) for item in payload["alerts"]]
    truncated = payload.get("truncatedAlerts", 0)
    if isinstance(truncated, int) and truncated > 0 and payload.get("status") != "resolved":
        alerts.append(_truncated(payload, truncated, alerts))
    return alerts


def _alert(item: Any) -> Alert | None:
    if not isinstance(item, dict) or not isinstance(item.get("labels"), dict):
        return None
    labels = {_plain(key): _plain(value) for key, value in item["labels"].items()}
    annotations = item.get("annotations")
    notes = annotations if isinstance(annotations, dict) else {}
    name = labels.get("alertname", "")
    told = _plain(notes.get("summary") or notes.get("description") or "")
    return Alert(
        name=name,
        firing=item.get("status") != "resolved",
        scope=labels.get("halts", "").strip().lower(),
        reason=f"{name}: {told}" if told else name or "an alert without a name",
        fingerprint=_plain(item.get("fingerprint") or "") or _digest(sorted(labels.items())),
        starts_at=_plain(item.get("startsAt") or ""),
    )


def _truncated(payload: dict[str, Any], count: int, alerts: Sequence[Alert | None]) -> Alert:
    """Alerts that Alertmanager cut off might have halted anything: they count as of unknown scope."""
    return Alert(
        name="truncated",
        firing=True,
        scope="truncated",
        reason=f"Alertmanager left out {count} alerts: set max_alerts to 0",
        fingerprint=_digest(["truncated", _plain(payload.get("groupKey") or "")]),
        starts_at=max((alert.starts_at for alert in alerts if alert), default=""),
    )


def _scope(alert: Alert) -> tuple[Scope, str]:
    try:
        return Scope(alert.scope), alert.reason
    except ValueError:
        return Scope.PROMOTION, f"{alert.reason} (unknown scope {alert.scope!r}: promotion is halted)"


def _plain(value: Any) -> str:
    """Short printable text: what is stored, logged and shown of an alert."""
    text = "".join(char if char.isprintable() else " " for char in str(value)[: LONGEST * 4])
    return text[:LONGEST]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]

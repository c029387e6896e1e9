"""Alertmanager's webhook payload (version 4) as alerts.

Strict about nothing but the outer shape: what is missing or odd in an alert is made up for in the direction
of stopping.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from policies.halts import Evidence, evidence_of

LONGEST = 200


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
    evidence: Evidence | None = None

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """What makes two alerts of a payload the same."""
        return self.scope, self.fingerprint, self.starts_at, self.firing


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
        fingerprint=_plain(item.get("fingerprint") or "") or digest(sorted(labels.items())),
        starts_at=_plain(item.get("startsAt") or ""),
        evidence=evidence_of(name, labels.get("evidence", "")),
    )


def _truncated(payload: dict[str, Any], count: int, alerts: Sequence[Alert | None]) -> Alert:
    """Alerts that Alertmanager cut off might have halted anything: they count as of unknown scope."""
    return Alert(
        name="truncated",
        firing=True,
        scope="truncated",
        reason=f"Alertmanager left out {count} alerts: set max_alerts to 0",
        fingerprint=digest(["truncated", _plain(payload.get("groupKey") or "")]),
        starts_at=max((alert.starts_at for alert in alerts if alert), default=""),
    )


def _plain(value: Any) -> str:
    """Short printable text: what is stored, logged and shown of an alert. Lists and objects are no text, and
    writing them out would go as deep as they do.
    """
    if isinstance(value, list | dict):
        return f"({type(value).__name__})"
    text = "".join(char if char.isprintable() else " " for char in str(value)[: LONGEST * 4])
    return text[:LONGEST]


def digest(value: Any) -> str:
    """A short name for a value of JSON."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]

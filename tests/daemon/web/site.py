"""A running web for tests: the real application behind a real uvicorn on a free loopback port."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

from daemon.clock import Clock, SystemClock
from daemon.errors import RlaifdError
from daemon.latch import Latch
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.service.health import Heartbeats, Readiness
from daemon.store import rollouts
from daemon.web.access import Door
from daemon.web.alerts import Alerts
from daemon.web.app import Web
from daemon.web.listener import Listener
from policies.rollout import Assignment

TOKEN = "a-long-random-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
STARTED = "2026-11-21T08:00:00.000Z"


@dataclass
class Answer:
    code: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """The application's parts, and `ask` to call it."""

    latch: Latch
    clock: Clock = field(default_factory=SystemClock)
    token: str | None = TOKEN
    state: dict[str, Any] = field(default_factory=dict)
    rollbacks: list[str] = field(default_factory=list)
    refuse_rollback: RlaifdError | None = None
    before_rollback: Callable[[], None] = lambda: None
    metrics: Metrics = field(default_factory=Metrics)
    port: int = 0

    def __post_init__(self) -> None:
        self.heartbeats = Heartbeats(self.clock)
        self.readiness = Readiness(self.heartbeats, store=lambda: None)
        self.broken_status: RlaifdError | None = None
        self.alerts = Alerts(
            latch=self.latch,
            rollback=self.roll_back,
            metrics=self.metrics,
            clock=self.clock,
            log=get("web"),
        )

    def roll_back(self, reason: str, epoch: int) -> None:
        self.before_rollback()
        if self.refuse_rollback is not None:
            raise self.refuse_rollback
        self.rollbacks.append(reason)
        self.move(epoch)

    def move(self, epoch: int) -> None:
        """Another adapter comes into force on top of an epoch."""
        after = Assignment(None, epoch)
        self.latch._store.write(
            lambda c: rollouts.advance(
                c, after=after, stable=None, actor="a", reason="r", at=self.clock.now()
            )
        )

    def status(self) -> dict[str, Any]:
        if self.broken_status is not None:
            raise self.broken_status
        return self.state

    @contextmanager
    def running(self, host: str = "127.0.0.1") -> Iterator["Site"]:
        web = Web(
            status=lambda: self.status(),  # noqa: PLW0108 - tests put another one in its place
            alerts=self.alerts,
            door=Door(token=lambda: self.token, names=("rlaifd.example",)),
            metrics=self.metrics,
            heartbeats=self.heartbeats,
            readiness=self.readiness,
            clock=self.clock,
            log=get("web"),
        )
        listener = Listener(web.app, host=host, port=0, log=get("web"))
        listener.start()
        self.port = listener.port
        try:
            yield self
        finally:
            listener.stop(10.0)

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> Answer:
        connection = HTTPConnection(host, self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def send(self, *alerts: Any, headers: Mapping[str, str] = BEARER, **payload: Any) -> Answer:
        """Posts alerts as Alertmanager does."""
        body = {"version": "4", "status": "firing", "groupKey": "{}", "truncatedAlerts": 0, **payload}
        return self.ask(
            "/alerts",
            method="POST",
            body=json.dumps({**body, "alerts": list(alerts)}).encode(),
            headers={"Content-Type": "application/json", **headers},
        )

    def count(self, result: str) -> float:
        return self.metrics.registry.get_sample_value(
            "rlaifd_alert_webhook_alerts_total", {"result": result}
        ) or 0.0  # fmt: skip


def alert(
    halts: str | None = "training", *, status: str = "firing", fingerprint: str = "f00d", **changes: Any
) -> dict[str, Any]:
    """One alert as it is on the wire."""
    labels = {"alertname": "RlaifdKlBlowUp", "severity": "critical"}
    if halts is not None:
        labels["halts"] = halts
    return {
        "status": status,
        "labels": labels,
        "annotations": {"summary": "KL 12 nats above 10"},
        "startsAt": STARTED,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://127.0.0.1/graph",
        "fingerprint": fingerprint,
        **changes,
    }

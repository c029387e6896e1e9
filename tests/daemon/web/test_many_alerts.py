"""Many alerts at once, in one payload or in many, cost what they are worth and keep no halt out."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event

from daemon.clock import SystemClock
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.store.store import Store
from policies.records import Scope
from tests.daemon.waiting import until
from tests.daemon.web.site import Site, alert
from tests.growth import LINEAR, growth


@pytest.fixture
def latch(sqlite_store: Store) -> Latch:
    return Latch(sqlite_store, SystemClock(), Metrics())


@pytest.fixture
def site(latch: Latch) -> Iterator[Site]:
    with Site(latch).running() as running:
        yield running


def scopes(latch: Latch) -> list[str]:
    return sorted(halt.scope.value for halt in latch.active())


def test_equal_alerts_of_a_payload_are_one_halt(site: Site, latch: Latch) -> None:
    """A thousand of them cost what one costs, and each is answered for."""
    answer = site.send(*[alert("training")] * 1000)
    assert (answer.code, answer.json()) == (200, {"halted": 1, "repeated": 999})
    assert scopes(latch) == ["training"]


def test_a_payload_is_one_transaction(site: Site, latch: Latch, sqlite_store: Store) -> None:
    """Its halts are stored together: one write, so one commit and one wait for the disk."""
    writes: list[int] = []
    event.listen(sqlite_store._urgent_engine, "commit", lambda _: writes.append(1))
    before = len(writes)
    resolved = [alert("training", status="resolved", fingerprint=f"r{number}") for number in range(50)]
    site.send(*[alert("judging", fingerprint=f"f{number}") for number in range(100)], *resolved)
    assert len(latch.active()) == 100
    assert len(writes) - before <= 2  # the write, and the read of this test


def test_more_alerts_than_anybody_sends_halt_their_scopes_and_promotion(site: Site, latch: Latch) -> None:
    """20,000 in just under 1 MB: one halt a scope that was read, promotion in any case, once for good."""
    flood = [
        {"labels": {"halts": "judging" if n % 2 else "tr"}, "fingerprint": f"{n}"} for n in range(16_000)
    ]
    answer = site.send(*flood)
    assert (answer.code, answer.json()) == (200, {"halted": 2, "repeated": 15_998})
    assert scopes(latch) == ["judging", "promotion"]
    assert all("16000 alerts in one payload" in halt.reason for halt in latch.active())
    for scope in (Scope.JUDGING, Scope.PROMOTION):
        latch.resume(scope, actor="ann", reason="a flood")
    assert site.send(*flood).json() == {"repeated": 16_000}
    assert latch.active() == ()


def test_alerts_cost_no_more_than_their_number(sqlite_store: Store) -> None:
    """Eight times the alerts are at most twelve times the work, equal and different ones."""
    site = Site(Latch(sqlite_store, SystemClock(), Metrics()))
    for labels in ({"halts": "training"}, {"alertname": "x"}):
        assert growth(lambda size, labels=labels: site.alerts.receive(_many(size, labels)), 1_000) < LINEAR  # type: ignore[misc]


def _many(size: int, labels: dict[str, str]) -> bytes:
    return json.dumps({"alerts": [{"labels": labels, "fingerprint": f"{n}"} for n in range(size)]}).encode()


def test_nested_values_are_no_text(site: Site, latch: Latch) -> None:
    """A label that is a list of lists of lists, deeper than can be written out, halts like any other."""
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    assert site.send(alert("training", annotations={"summary": deep}, startsAt=deep)).json() == {"halted": 1}


def test_a_halt_that_waits_for_its_turn_is_not_dropped(
    site: Site, latch: Latch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender was told to come back; it is stored all the same once the one before it is through."""
    monkeypatch.setattr("daemon.web.app.HALT_S", 0.2)
    held, reached = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        held.wait(60)

    site.before_rollback = hold
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(site.send, alert("rollback", fingerprint="one"))
        assert reached.wait(60)
        assert site.send(alert("training", fingerprint="two")).code == 503
        held.set()
        first.result()
    until(lambda: "training" in scopes(latch))

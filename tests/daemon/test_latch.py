"""The latch, on both databases."""

import threading
import time

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from daemon.clock import FakeClock
from daemon.errors import HaltedError, UsageError
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.store import halts, ledger
from daemon.store.store import Store, StoreBusyError, StoreError
from policies.records import Scope
from policies.states import HaltSource


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def latch(store: Store, clock: FakeClock, metrics: Metrics) -> Latch:
    return Latch(store, clock, metrics)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"rlaifd_{name}", labels)


def alert(latch: Latch, *, starts_at: str = "2026-11-21T08:00:00Z", scope: Scope = Scope.TRAINING) -> bool:
    return latch.halt(
        scope,
        reason="KL too high",
        source=HaltSource.ALERT,
        actor="alertmanager",
        fingerprint="f00",
        starts_at=starts_at,
    )


def test_a_halt_holds_until_a_person_resumes_it(latch: Latch) -> None:
    """Check raises with reason and way out, for this scope only, until the resume."""
    latch.check(Scope.TRAINING)
    assert latch.halt(Scope.TRAINING, reason="reward collapse", source=HaltSource.GUARD, actor="watch")
    latch.check(Scope.JUDGING)
    with pytest.raises(HaltedError, match=r"training is halted: reward collapse; `rlaifd resume training`"):
        latch.check(Scope.TRAINING)
    assert latch.resume(Scope.TRAINING, actor="ann", reason="fixed the judge") == 1
    latch.check(Scope.TRAINING)
    assert latch.resume(Scope.TRAINING, actor="ann", reason="again") == 0


def test_a_halt_outlives_the_process(store: Store, latch: Latch, clock: FakeClock) -> None:
    """A new latch on the same store, as after a restart, is halted."""
    alert(latch)
    with pytest.raises(HaltedError):
        Latch(store, clock, Metrics()).check(Scope.TRAINING)


def test_a_repeated_alert_is_one_halt_and_does_not_undo_a_resume(latch: Latch) -> None:
    """Alertmanager sends a firing alert again and again; a new start is a new halt."""
    assert [alert(latch), alert(latch)] == [True, False]
    latch.resume(Scope.TRAINING, actor="ann", reason="known")
    assert not alert(latch)
    latch.check(Scope.TRAINING)
    assert alert(latch, starts_at="2026-11-21T09:00:00Z")
    with pytest.raises(HaltedError):
        latch.check(Scope.TRAINING)


def test_a_standing_condition_halts_again_after_a_resume(latch: Latch) -> None:
    """A guard has no start: it makes one halt while active, and another when it fires after a resume."""
    for _ in range(2):
        fired = [
            latch.halt(
                Scope.TRAINING, reason="spread", source=HaltSource.GUARD, actor="watch", fingerprint="spread"
            )
            for _ in range(3)
        ]
        assert fired == [True, False, False]
        assert latch.resume(Scope.TRAINING, actor="ann", reason="looked") == 1


def test_a_hundred_equal_alerts_at_once_are_one_halt(store: Store, latch: Latch) -> None:
    """Idempotence holds between threads, with and without a start."""
    new: list[bool] = []

    def send(number: int) -> None:
        new.append(alert(latch, starts_at="" if number % 2 else "2026-11-21T08:00:00Z"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(new) == 100
    active = latch.active()
    assert sum(new) == len(active) <= 2
    assert store.read(ledger.verify).entries == sum(new)


def test_clearing_resumes_nothing(latch: Latch, clock: FakeClock) -> None:
    """`resolved` is recorded, and the scope stays halted."""
    alert(latch)
    clock.advance(60)
    assert latch.clear("f00", "2026-11-21T08:00:00Z") == 1
    assert latch.clear("f00", "2026-11-21T08:00:00Z") == 0
    (halt,) = latch.active()
    assert halt.cleared_at == clock.now()
    with pytest.raises(HaltedError):
        latch.check(Scope.TRAINING)


@pytest.mark.parametrize(("actor", "reason"), [("", "why"), ("ann", " ")])
def test_a_resume_needs_actor_and_reason(latch: Latch, actor: str, reason: str) -> None:
    """Neither may be blank."""
    alert(latch)
    with pytest.raises(UsageError):
        latch.resume(Scope.TRAINING, actor=actor, reason=reason)
    assert len(latch.active()) == 1


def test_halt_and_resume_are_in_the_ledger(store: Store, latch: Latch) -> None:
    """Actor, reason and scope of both, once each; hostile text is stored, not refused."""
    alert(latch)
    alert(latch)
    latch.halt(
        Scope.PROMOTION, reason="nul \x00 and \ud800", source=HaltSource.ALERT, actor="am", fingerprint="x"
    )
    latch.resume(Scope.TRAINING, actor="ann", reason="known")
    rows = store.read(lambda c: c.execute(text("SELECT action, subject, actor, reason FROM ledger")).all())
    assert [tuple(row) for row in rows] == [
        ("halt", "training", "alertmanager", "KL too high"),
        ("halt", "promotion", "am", "nul \ufffd and ?"),
        ("resume", "training", "ann", "known"),
    ]
    assert store.read(ledger.verify).broken_at is None


def test_gauges_follow(latch: Latch, metrics: Metrics) -> None:
    """Active halts show per scope, and each new one is counted by its source."""
    alert(latch)
    alert(latch)
    assert value(metrics.registry, "halt_active", scope="training") == 1
    assert value(metrics.registry, "halts_total", scope="training", source="alert") == 1
    latch.resume(Scope.TRAINING, actor="ann", reason="known")
    assert value(metrics.registry, "halt_active", scope="training") == 0
    assert value(metrics.registry, "halt_active", scope="judging") == 0


def test_unreadable_halts_count_as_halted(store: Store, latch: Latch, metrics: Metrics) -> None:
    """When nobody can tell, nothing starts, and the gauge says so."""
    store.write(lambda c: c.execute(text("ALTER TABLE halt RENAME TO gone")))
    with pytest.raises(HaltedError, match="promotion is halted: the halts cannot be read"):
        latch.check(Scope.PROMOTION)
    assert value(metrics.registry, "halt_active", scope="promotion") == 1
    with pytest.raises(StoreError):
        latch.active()


def test_a_halt_that_cannot_be_stored_holds_until_it_is(
    store: Store, clock: FakeClock, latch: Latch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scope is halted in memory at once; the next check that can store it does."""

    def fail(*args: object, **kwargs: object) -> None:
        raise StoreBusyError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(halts, "latch", fail)
        with pytest.raises(StoreError):
            alert(latch)
        with pytest.raises(HaltedError, match="KL too high"):
            latch.check(Scope.TRAINING)
        latch.check(Scope.JUDGING)
    with pytest.raises(HaltedError, match="KL too high"):
        latch.check(Scope.TRAINING)
    with pytest.raises(HaltedError):
        Latch(store, clock, Metrics()).check(Scope.TRAINING)
    assert latch.resume(Scope.TRAINING, actor="ann", reason="space") == 1


def test_a_halt_goes_ahead_of_a_busy_writer(store: Store, latch: Latch) -> None:
    """With many slow writes queued, the halt waits for the one under way and not for the queue."""
    release, started = threading.Event(), threading.Event()
    done: list[int] = []

    def slow(number: int) -> None:
        def work(connection: object) -> None:
            started.set()
            release.wait(60)
            done.append(number)

        store.write(work)

    threads = [threading.Thread(target=slow, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    assert started.wait(60)
    halted = threading.Thread(target=alert, args=(latch,))
    halted.start()
    deadline = time.monotonic() + 60
    while not store._urgent.locked() and halted.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    before = len(done)
    release.set()
    halted.join(60)
    assert not halted.is_alive()
    assert before == 0
    for thread in threads:
        thread.join(60)
    assert len(latch.active()) == 1
    assert len(done) == 8


def test_a_halt_inside_a_write_is_refused_at_once(store: Store, latch: Latch) -> None:
    """It would wait for the transaction that it is called from."""
    with pytest.raises(RuntimeError, match="inside a write"):
        store.write(lambda c: alert(latch))

"""The alert webhook, over real HTTP, on a real latch."""

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from daemon.clock import SystemClock
from daemon.errors import RefusedError, RlaifdError
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.store.halts import ActiveHalt
from daemon.store.schema import upgrade
from daemon.store.store import Store, StoreError
from policies.records import Scope
from policies.states import HaltSource
from tests.daemon.web.site import BEARER, STARTED, Site, alert
from tests.servers.postgres import Postgres


class BrokenLatch(Latch):
    """A latch whose store can be taken away."""

    down = False

    def take(self, *arguments: Any, **named: Any) -> list[bool]:
        if self.down:
            raise StoreError("store sqlite: gone")
        return super().take(*arguments, **named)


@pytest.fixture
def latch(sqlite_store: Store) -> BrokenLatch:
    return BrokenLatch(sqlite_store, SystemClock(), Metrics())


@pytest.fixture
def site(latch: BrokenLatch) -> Iterator[Site]:
    with Site(latch).running() as running:
        yield running


def scopes(latch: Latch) -> list[str]:
    return [halt.scope.value for halt in latch.active()]


def only(latch: Latch) -> ActiveHalt:
    (halt,) = latch.active()
    return halt


def test_a_firing_alert_halts_its_scope(site: Site, latch: Latch) -> None:
    """The 2xx comes after the halt is committed, with the alert's identity and words in it."""
    answer = site.send(alert("training"))
    assert (answer.code, answer.json()) == (200, {"halted": 1})
    halt = only(latch)
    assert (halt.scope, halt.source, halt.actor) == (Scope.TRAINING, "alert", "alertmanager")
    assert (halt.fingerprint, halt.starts_at) == ("f00d", STARTED)
    assert halt.reason == "RlaifdKlBlowUp: KL 12 nats above 10"
    assert site.count("halted") == 1


def test_a_resend_is_one_halt_and_undoes_no_resume(site: Site, latch: Latch) -> None:
    """Alertmanager repeats itself; a person's resume outlives the repeats, a new start halts again."""
    site.send(alert("training"))
    assert site.send(alert("training")).json() == {"repeated": 1}
    latch.resume(Scope.TRAINING, actor="ann", reason="looked at it")
    assert site.send(alert("training")).json() == {"repeated": 1}
    assert latch.active() == ()
    assert site.send(alert("training", startsAt="2026-11-21T09:00:00Z")).json() == {"halted": 1}


def test_resolved_clears_and_never_resumes(site: Site, latch: Latch) -> None:
    """The condition is noted as gone; the halt stays."""
    site.send(alert("training"))
    assert site.send(alert("training", status="resolved"), status="resolved").json() == {"resolved": 1}
    assert only(latch).cleared_at is not None
    assert scopes(latch) == ["training"]


def test_the_alert_counts_and_not_the_group(site: Site, latch: Latch) -> None:
    """In a firing group an alert may be resolved."""
    answer = site.send(
        alert("training", status="resolved", fingerprint="a"), alert("judging", fingerprint="b")
    )
    assert answer.json() == {"halted": 1, "resolved": 1}
    assert scopes(latch) == ["judging"]


def test_an_unknown_scope_halts_promotion_and_says_so(site: Site, latch: Latch) -> None:
    """A misspelt rule stops something rather than nothing."""
    assert site.send(alert("trainign")).json() == {"halted": 1}
    halt = only(latch)
    assert halt.scope is Scope.PROMOTION
    assert "unknown scope 'trainign'" in halt.reason


def test_left_out_alerts_halt_promotion(site: Site, latch: Latch) -> None:
    """Alerts that Alertmanager cut off might have halted anything."""
    assert site.send(alert("training"), truncatedAlerts=3).json() == {"halted": 2}
    assert sorted(scopes(latch)) == ["promotion", "training"]
    assert site.send(alert("training"), truncatedAlerts=3).json() == {"repeated": 2}


def test_a_bad_alert_does_not_cost_the_others(site: Site, latch: Latch) -> None:
    """What is no alert is counted; what is odd but says it halts, halts; the rest is as ever."""
    odd: dict[str, Any] = {
        "labels": {"halts": " Judging ", "alertname": 7},
        "annotations": [],
        "startsAt": None,
    }
    answer = site.send("nonsense", None, {"labels": 3}, odd, {"labels": {}}, alert("training"))
    assert (answer.code, answer.json()) == (200, {"halted": 2, "ignored": 1, "malformed": 3})
    assert sorted(scopes(latch)) == ["judging", "training"]


def test_text_that_no_database_takes_is_made_plain(site: Site, latch: Latch) -> None:
    """NUL, lone surrogates, line ends and endless text in every field."""
    nasty = "a\x00b\ud800c\n" + "x" * 5000
    answer = site.send(
        alert("training", fingerprint=nasty, startsAt=nasty, annotations={"summary": nasty}),
        alert(nasty, fingerprint="other"),
    )
    assert (answer.code, answer.json()) == (200, {"halted": 2})
    assert all(halt.reason.isprintable() and len(halt.reason) < 700 for halt in latch.active())


def test_the_watchdog_sets_the_heartbeat(site: Site, latch: Latch) -> None:
    """The alert path reports that it is alive, and halts nothing by it."""
    watchdog = alert(None, labels={"alertname": "RlaifdWatchdog"})
    assert site.send(watchdog).json() == {"heartbeat": 1}
    beat = site.metrics.registry.get_sample_value("rlaifd_alert_path_last_heartbeat_timestamp_seconds")
    assert beat is not None
    assert beat > 1.7e9
    assert latch.active() == ()


def test_rollback_halts_promotion_and_re_points_once(site: Site, latch: Latch) -> None:
    """A repeat of the same alert must not roll back one step further."""
    assert site.send(alert("rollback")).json() == {"halted": 1}
    assert scopes(latch) == ["promotion"]
    assert site.send(alert("rollback")).json() == {"repeated": 1}
    latch.resume(Scope.PROMOTION, actor="ann", reason="fixed")
    assert site.send(alert("rollback")).json() == {"repeated": 1}
    assert site.rollbacks == ["RlaifdKlBlowUp: KL 12 nats above 10"]


def test_the_other_halts_come_before_a_rollback(site: Site, latch: Latch) -> None:
    """A rollback waits for the rollout's lock: what else the payload halts is committed by then."""
    seen: list[list[str]] = []
    site.before_rollback = lambda: seen.append(scopes(latch))
    site.send(alert("rollback", fingerprint="one"), alert("training", fingerprint="two"))
    assert [sorted(each) for each in seen] == [["promotion", "training"]]


def test_a_failed_rollback_is_tried_again_when_the_alert_comes_again(site: Site, latch: Latch) -> None:
    """Promotion is halted all the while, and Alertmanager is told to come back."""
    site.refuse_rollback = RlaifdError("rollout.yaml: not writable")
    assert site.send(alert("rollback")).code == 503
    assert scopes(latch) == ["promotion"]
    site.refuse_rollback = None
    assert site.send(alert("rollback")).code == 200
    assert site.send(alert("rollback")).code == 200
    assert len(site.rollbacks) == 1


@pytest.mark.parametrize("starts_at", [STARTED, None])
def test_a_daemon_killed_before_the_rollback_makes_it_good(
    site: Site, latch: Latch, starts_at: str | None
) -> None:
    """Its successor knows nothing but the halt and the changes; the alert comes again."""
    killed = Site(latch, refuse_rollback=RlaifdError("killed"))
    with killed.running():
        assert killed.send(alert("rollback", startsAt=starts_at)).code == 503
    assert site.send(alert("rollback", startsAt=starts_at)).json() == {"repeated": 1}
    assert site.send(alert("rollback", startsAt=starts_at)).json() == {"repeated": 1}
    assert len(site.rollbacks) == 1


def test_a_change_after_the_halt_is_not_undone(site: Site, latch: Latch) -> None:
    """A person went back by hand before the alert came again: that was it."""
    site.refuse_rollback = RlaifdError("rollout.yaml: not writable")
    assert site.send(alert("rollback")).code == 503
    site.refuse_rollback = None
    site.move(0)
    assert site.send(alert("rollback")).json() == {"repeated": 1}
    assert site.rollbacks == []


def test_a_resumed_halt_owes_no_rollback(site: Site, latch: Latch) -> None:
    """The person who resumed has looked at it."""
    site.refuse_rollback = RlaifdError("rollout.yaml: not writable")
    assert site.send(alert("rollback")).code == 503
    latch.resume(Scope.PROMOTION, actor="ann", reason="a false alarm")
    site.refuse_rollback = None
    assert site.send(alert("rollback")).code == 200
    assert site.rollbacks == []


def test_nothing_to_roll_back_to_is_settled(site: Site, latch: Latch) -> None:
    """A refusal is an answer: sending the alert again would not change it."""
    site.refuse_rollback = RefusedError("no earlier adapter")
    assert site.send(alert("rollback")).code == 200
    assert scopes(latch) == ["promotion"]


def test_a_rollback_whose_halt_could_not_be_stored_still_happens(site: Site, latch: BrokenLatch) -> None:
    """The store comes back, the latch stores the halt by itself, then the alert is sent again."""
    latch.down = True
    assert site.send(alert("rollback")).code == 503
    latch.down = False
    latch.halt(
        Scope.PROMOTION, reason="r", source=HaltSource.ALERT, actor="a", fingerprint="f00d", starts_at=STARTED
    )
    assert site.send(alert("rollback")).json() == {"repeated": 1}
    assert len(site.rollbacks) == 1


def test_without_a_store_503_and_2xx_after_recovery(site: Site, latch: BrokenLatch) -> None:
    """Never a 4xx: Alertmanager would drop the halt for good."""
    latch.down = True
    answer = site.send(alert("training"), alert("judging", fingerprint="b"))
    assert (answer.code, answer.json()) == (503, {"unavailable": 2})
    latch.down = False
    assert site.send(alert("training")).json() == {"halted": 1}
    assert scopes(latch) == ["training"]


@pytest.mark.postgres
def test_a_stopped_postgres_is_503_and_its_return_2xx(durable_postgres: Postgres) -> None:
    """The real thing: the server stops, the webhook says 503 in time, the server returns."""
    store = Store(durable_postgres.create())
    upgrade(store)
    latch = Latch(store, SystemClock(), Metrics())
    cluster = durable_postgres.cluster
    assert cluster is not None
    with Site(latch).running() as site:
        cluster.stop()
        assert site.send(alert("training")).code == 503
        cluster.start()
        assert site.send(alert("training")).code == 200
        assert scopes(latch) == ["training"]
    store.close()


def test_a_hundred_duplicates_at_once_are_one_halt(site: Site, latch: Latch) -> None:
    """Every sender gets its 2xx; one halt is new."""
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: site.send(alert("training")), range(100)))
    assert Counter(answer.code for answer in answers) == {200: 100}
    assert Counter(str(answer.json()) for answer in answers) == {
        "{'halted': 1}": 1,
        "{'repeated': 1}": 99,
    }
    assert scopes(latch) == ["training"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer gefälscht-ü"},
        {"Authorization": b"Bearer \xff\xfe\x80"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Digest a-long-random-token"},
    ],
    ids=repr,
)
def test_a_wrong_token_is_401(site: Site, latch: Latch, headers: dict[str, Any]) -> None:
    """Whatever bytes it is made of."""
    assert site.send(alert("training"), headers=headers).code == 401
    assert latch.active() == ()
    assert site.count("unauthorized") == 1


def test_the_token_may_come_as_a_basic_password(site: Site) -> None:
    """Alertmanager can send either."""
    basic = {"Authorization": "Basic YW06YS1sb25nLXJhbmRvbS10b2tlbg=="}
    assert site.send(alert("training"), headers=basic).code == 200


def test_an_empty_token_lets_nobody_in(latch: Latch) -> None:
    """An emptied token file must not open the door."""
    with Site(latch, token="").running() as site:
        assert site.send(alert("training"), headers={}).code == 401
        assert site.send(alert("training"), headers={"Authorization": "Bearer "}).code == 401


def test_without_a_token_loopback_is_open_but_not_to_browsers(latch: Latch) -> None:
    """A web page can make a browser POST here; the browser then names its origin."""
    with Site(latch, token=None).running() as site:
        assert site.send(alert("training"), headers={"Origin": "https://evil.example"}).code == 403
        assert latch.active() == ()
        assert site.send(alert("training"), headers={}).code == 200


def test_a_body_above_the_cap_is_413(site: Site, latch: Latch) -> None:
    """5 MB, with and without its length given beforehand."""
    body = json.dumps({"alerts": [alert("training", annotations={"summary": "x" * 5_000_000})]}).encode()
    assert site.ask("/alerts", method="POST", body=body, headers=BEARER).code == 413
    chunked: Any = (body[at : at + 65536] for at in range(0, len(body), 65536))
    assert site.ask("/alerts", method="POST", body=chunked, headers=BEARER).code == 413
    assert latch.active() == ()
    assert site.send(alert("training")).code == 200


def test_a_strangers_endless_body_is_cut_off(site: Site) -> None:
    """It is answered 401 after at most the cap, and the connection ends."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as connection:
        connection.sendall(
            b"POST /alerts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n"
        )
        sent = _flood(connection)
    assert sent < 30_000_000
    assert site.count("unauthorized") == 1


def _flood(connection: socket.socket) -> int:
    """Sends until the other side has had enough; returns how much went out."""
    sent = 0
    while sent < 100_000_000:
        try:
            connection.sendall(b"x" * 65536)
        except OSError:
            break
        sent += 65536
    return sent


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"alerts": {}}', b"[" * 100_000, b'{"version": "4"}'],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_not_alertmanager_is_400(site: Site, body: bytes) -> None:
    """Nothing in it could be an alert."""
    assert site.ask("/alerts", method="POST", body=body, headers=BEARER).code == 400
    assert site.count("malformed") == 1


def test_unknown_fields_and_versions_are_let_pass(site: Site) -> None:
    """A later Alertmanager must not disarm the halts."""
    assert site.send(alert("training", novel={"a": 1}), version="5", novel=True).code == 200


def test_no_page_waits_in_front_of_a_halt(site: Site, latch: Latch) -> None:
    """With every worker thread of the pages stuck, the webhook still answers."""
    held = threading.Event()
    site.status = lambda: {"waited": held.wait(60)}  # type: ignore[method-assign]
    with ThreadPoolExecutor(60) as pool:
        pages = [pool.submit(site.ask, "/api/v1/status") for _ in range(60)]
        try:
            assert site.send(alert("training")).code == 200
        finally:
            held.set()
        assert {page.result().code for page in pages} == {200}

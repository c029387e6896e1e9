"""What a person resumed stays resumed until there is newer evidence."""

from collections.abc import Iterator

import pytest

from daemon.clock import SystemClock
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.store.store import Store
from policies.records import Scope, Split
from tests.daemon.stages.seeding import add_candidate, add_label, add_trace
from tests.daemon.web.site import Site, alert


@pytest.fixture
def latch(sqlite_store: Store) -> Latch:
    return Latch(sqlite_store, SystemClock(), Metrics())


@pytest.fixture
def site(latch: Latch) -> Iterator[Site]:
    with Site(latch).running() as running:
        yield running


def test_what_a_person_resumed_stays_resumed_until_there_is_newer_evidence(
    site: Site, latch: Latch, sqlite_store: Store
) -> None:
    """A restarted daemon's gauges fire the alert anew, with a new start: one more label makes it news."""
    breach = alert("training", labels={"alertname": "RlaifdJudgeAlignmentLow", "halts": "training"})
    site.send(breach)
    latch.resume(Scope.TRAINING, actor="ann", reason="one reviewer was wrong")
    again = {**breach, "startsAt": "2026-11-21T09:00:00Z"}
    assert site.send(again).json() == {"repeated": 1}
    assert latch.active() == ()
    trace = add_trace(sqlite_store, "one", Split.AUDIT)
    one, other = (add_candidate(sqlite_store, trace, "words", sample=sample) for sample in (0, 1))
    add_label(sqlite_store, trace, one, other, "a")
    assert site.send(again).json() == {"halted": 1}


def test_a_rule_may_say_what_its_alert_rests_on(site: Site, latch: Latch, sqlite_store: Store) -> None:
    """Of an alert that says nothing each start is news; so is one that says what nobody knows."""
    later = "2026-11-21T09:00:00Z"
    for evidence, expected in (("labels", "repeated"), ("moon", "halted"), (None, "halted")):
        labels = {"alertname": "Mine", "halts": "judging", "evidence": evidence}
        mine = alert(labels={key: value for key, value in labels.items() if value}, fingerprint=str(evidence))
        site.send(mine)
        latch.resume(Scope.JUDGING, actor="ann", reason="looked")
        assert site.send({**mine, "startsAt": later}).json() == {expected: 1}
        latch.resume(Scope.JUDGING, actor="ann", reason="looked")

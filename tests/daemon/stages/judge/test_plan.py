"""The plan: every trace is decided on once, by hash, with its probability."""

from daemon.clock import FakeClock
from daemon.stages.judge.plan import Plan
from daemon.store.store import Store
from daemon.store.tables import JudgementRow, TraceRow
from policies.policy import JudgingRule
from policies.records import Role, Split
from policies.sampling import chosen
from tests.daemon.stages import seeding
from tests.judges import BENCH, SMALL


def add(store: Store, count: int) -> None:
    def work(within: seeding.Within) -> None:
        for at in range(count):
            seeding.add_trace(within, f"event-{at}", Split.TRAIN, planned=False)

    seeding.at_once(store, work)


def plan(store: Store, **changes: object) -> Plan:
    rule = JudgingRule(small_rate=1.0, audit_rate=0.25).model_copy(update=changes)
    return Plan(store=store, clock=FakeClock(5.0), rule=rule, judges=BENCH, batch=40)


def asked(store: Store, role: Role) -> list[str]:
    return [row.key for row in seeding.rows(store, JudgementRow) if row.role == role.value]


def test_traffic_is_scored_and_a_known_share_audited(store: Store) -> None:
    """The audit is the hash's choice; probabilities are recorded; every trace is marked."""
    add(store, 100)
    stage = plan(store)
    assert [stage.step() for _ in range(4)] == [40, 40, 20, 0]
    rows = seeding.rows(store, JudgementRow)
    small = [row for row in rows if row.role == "small"]
    large = [row for row in rows if row.role == "large"]
    events = {row.id: row.event_id for row in seeding.rows(store, TraceRow)}
    assert len(small) == 100
    assert {(row.kind, row.purpose, row.probability) for row in small} == {("score", "traffic", 1.0)}
    assert {(row.kind, row.purpose, row.probability) for row in large} == {("score", "audit", 0.25)}
    assert {events[row.trace_id] for row in large} == {
        event for event in events.values() if chosen(event, "audit", 0.25)
    }
    assert 10 < len(large) < 45
    assert all(row.planned_at == 5.0 for row in seeding.rows(store, TraceRow))


def test_planning_again_adds_nothing(store: Store) -> None:
    """A second daemon that decides on the same traces decides alike."""
    add(store, 20)
    plan(store).step()
    before = asked(store, Role.SMALL) + asked(store, Role.LARGE)
    store.write(lambda c: c.execute(seeding.table(TraceRow).update().values(planned_at=None)).rowcount)
    assert plan(store).step() == 20
    assert asked(store, Role.SMALL) + asked(store, Role.LARGE) == before


def test_a_judge_that_is_not_configured_is_not_asked(store: Store) -> None:
    """Its judgements would stay open for ever."""
    add(store, 20)
    rule = JudgingRule(audit_rate=1.0)
    assert Plan(store=store, clock=FakeClock(), rule=rule, judges=[SMALL]).step() == 20
    assert asked(store, Role.LARGE) == []


def test_a_rate_of_zero_asks_for_nothing_and_marks_all_the_same(store: Store) -> None:
    """Undecided and decided against are different things."""
    add(store, 20)
    assert plan(store, small_rate=0.0, audit_rate=0.0).step() == 20
    assert seeding.count(store, JudgementRow) == 0
    assert plan(store).step() == 0

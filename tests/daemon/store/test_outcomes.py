"""What became of judgements, and what is asked once more, on both databases."""

import pytest

from connectors.errors import PoisonError
from connectors.memory import MemoryJudge
from daemon.store import outcomes
from daemon.store.store import Store
from policies.policy import JudgingRule
from policies.records import Role
from tests.daemon.stages.judge.court import Court, raising
from tests.judges import named

ONE = JudgingRule(samples=1)


def court_of(store: Store, *errors: Exception | None) -> Court:
    return Court(store, judge=MemoryJudge(raising(*errors)), rule=ONE)


def reopened(store: Store, version: str, *, after: int = 0) -> tuple[int, int | None]:
    return store.write(lambda c: outcomes.reopen(c, named(Role.SMALL, version), after=after, now=1.0))


def test_verdicts_and_abstentions_are_counted_by_reason(store: Store) -> None:
    """Only what was decided after a moment counts, and what waits is by itself."""
    court = court_of(store, PoisonError("flagged"))
    court.want_scores("a")
    court.drain()
    before = store.read(outcomes.newest)
    assert store.read(lambda c: outcomes.since(c, 0, "small")) == outcomes.EndedJudgements(0, {"flagged": 1})
    court.want_scores("b", "c")
    assert store.read(lambda c: outcomes.put_back(c, "small")) == {"": 2}
    court.drain()
    assert store.read(lambda c: outcomes.since(c, before, "small")) == outcomes.EndedJudgements(2, {})
    assert store.read(lambda c: outcomes.since(c, 0, "large")) == outcomes.EndedJudgements(0, {})


def test_an_abstention_is_asked_once_more_each_time(store: Store) -> None:
    """The new judgement has a key of its own, so that twice is once; one that abstains again can be again."""
    court = court_of(store, PoisonError("no"), PoisonError("no"))
    court.want_scores("a")
    court.drain()
    version = court.verdicts[0].version
    assert reopened(store, version) == (1, None)
    assert reopened(store, version) == (0, None)
    court.drain()
    assert [row.abstention for row in court.verdicts] == ["no", "no"]
    assert reopened(store, version) == (1, None)
    court.drain()
    assert [row.abstention for row in court.verdicts] == ["no", "no", None]
    assert reopened(store, version) == (0, None), "it has its verdict"
    keys = [row.key for row in court.judgements]
    assert all(key.count(":r") <= 1 for key in keys)


def test_what_is_to_be_opened_comes_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, a transaction is short; none is left out."""
    monkeypatch.setattr(outcomes, "PAGE", 5)
    court = court_of(store, *[PoisonError("no")] * 8)
    court.want_scores(*(f"a{at}" for at in range(8)))
    court.drain()
    version = court.verdicts[0].version
    new, after = reopened(store, version)
    assert new == 5
    assert after is not None
    assert reopened(store, version, after=after) == (3, None)


def test_what_was_given_up_is_opened(store: Store) -> None:
    """As if it had never been tried."""
    court = court_of(store, *[RuntimeError("a bug")] * 9)
    court.want_scores("a")
    for _ in range(6):
        try:
            court.step()
        except RuntimeError:
            court.clock.advance(200)  # type: ignore[attr-defined]
    assert [row.state for row in court.judgements] == ["failed"]
    assert store.write(lambda c: outcomes.reopen_failed(c, "small")) == 1
    (row,) = court.judgements
    assert (row.state, row.attempts, row.not_before) == ("open", 0, 0.0)

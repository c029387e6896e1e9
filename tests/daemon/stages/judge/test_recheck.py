"""A judge of a new version is asked again about the labelled pairs, and its alignment follows."""

from functools import partial
from typing import Any

import pytest

from daemon.clock import FakeClock
from daemon.stages.judge.recheck import Recheck
from daemon.store.alignment import labelled
from daemon.store.store import Store
from daemon.store.tables import JudgementRow
from policies.records import Role, Split
from tests.daemon.stages.seeding import Asked, add_labelled, by_length, judge, rows
from tests.judges import BENCH, named

MINE = {role.value: named(role, f"{role.value}-version-two") for role in Role}


@pytest.fixture
def recheck(store: Store, clock: FakeClock) -> Recheck:
    return Recheck(store=store, clock=clock, judges=tuple(MINE.values()), most=100)


def names(count: int) -> dict[str, bool]:
    return {f"audit{each}": True for each in range(count)}


def test_a_new_version_is_asked_about_every_labelled_pair(store: Store, recheck: Recheck) -> None:
    """Two scores of the small judge, one comparison of each other one; asking again adds nothing."""
    add_labelled(store, names(3))
    assert recheck.step() == 3 * (2 + 1 + 1)
    assert recheck.step() == 0
    asked = [(row.role, row.kind, row.purpose) for row in rows(store, JudgementRow) if row.state == "open"]
    assert sorted(set(asked)) == [
        ("gate", "pair", "audit"),
        ("large", "pair", "audit"),
        ("small", "score", "audit"),
    ]


def test_what_it_answers_is_its_alignment(store: Store, recheck: Recheck) -> None:
    """Labels given while another version judged count for the new one as soon as it has spoken."""
    add_labelled(store, names(4))
    recheck.step()

    def second(asked: Asked) -> dict[str, Any]:
        return {**by_length(asked), "version": MINE[asked.role].version, "created_at": 1.0}

    judge(store, second)
    for mine in MINE.values():
        found = store.read(partial(labelled, judge=mine, min_gap=1.0))
        assert [(pair.judge, pair.humans) for pair in found] == [("a", ("a",))] * 4
    assert recheck.step() == 0


def test_a_judgement_that_failed_is_not_asked_for_again(store: Store, recheck: Recheck) -> None:
    """Otherwise one pair that cannot be judged would be asked for ever."""
    add_labelled(store, names(1))
    recheck.step()
    judge(store, lambda asked: None)
    assert recheck.step() == 0


def test_what_its_version_judged_is_not_asked_again(store: Store, clock: FakeClock) -> None:
    """The usual case: nothing is new, and nothing is asked."""
    add_labelled(store, names(3), version="v1")
    assert Recheck(store=store, clock=clock, judges=BENCH, most=100).step() == 0


def test_only_the_newest_labels_of_the_audit_split_count(store: Store, clock: FakeClock) -> None:
    """As many as alignment looks at: older ones would be paid for and not used."""
    add_labelled(store, {f"train{each}": True for each in range(3)}, split=Split.TRAIN)
    add_labelled(store, names(5))
    assert Recheck(store=store, clock=clock, judges=[MINE["large"]], most=2).step() == 2
    newest = [row for row in rows(store, JudgementRow) if row.state == "open"]
    assert len({row.trace_id for row in newest}) == 2
    assert min(row.trace_id for row in newest) == 7

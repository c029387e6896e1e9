"""Whether a reward model may be used, from audit labels alone."""

from typing import Any

import pytest

from policies.release import Audited, ReleaseRule, decide

RULE = ReleaseRule()


def label(number: int, *, model: bool, judge: bool | None, longer: bool, **changes: Any) -> Audited:
    """A pair that people decided; whether model, judge and "the longer one" are right about it."""
    a_wins = number % 2 == 0
    values: dict[str, Any] = {
        "cluster": f"c{number}",
        "humans": ("a" if a_wins else "b",) * 3,
        "lead": 1.0 if model == a_wins else -1.0,
        "judge": None if judge is None else ("a" if judge == a_wins else "b"),
        "length_a": 200 if longer == a_wins else 100,
        "length_b": 100 if longer == a_wins else 200,
    }
    return Audited(**values | changes)


def labels(
    n: int, *, model: float, judge: float, longer: float = 0.5, together: bool = True
) -> list[Audited]:
    """Shares of the labels on which each is right; model and judge mostly on the same ones."""
    found = []
    for number in range(n):
        place = (number * 0.6180339887) % 1
        other = place if together else (number * 0.7548776662) % 1
        length = (number * 0.5698402910) % 1
        found.append(label(number, model=place < model, judge=other < judge, longer=length < longer))
    return found


def test_a_model_that_knows_what_its_judge_knows_is_released() -> None:
    """300 labels: 0.88 beside the judge's 0.89, and 0.5 by length."""
    found = decide(labels(300, model=0.88, judge=0.89), RULE)
    assert found.kind == "release"
    assert found.difference == pytest.approx(-0.01, abs=0.01)
    assert found.difference_lower is not None
    assert -0.05 <= found.difference_lower < 0
    assert len(found.reasons) == 2
    assert found.missing is None


def test_too_few_labels_hold_and_name_the_missing_number() -> None:
    """Thirty of fifty: twenty are missing, whatever they say."""
    found = decide(labels(30, model=1, judge=1), RULE)
    assert (found.kind, found.missing) == ("hold", 20)
    assert found.reasons == ("labels: 30 of 50, 20 are missing",)


def test_a_rule_of_length_is_refused() -> None:
    """Right as often as "the longer one", where that is 0.8: no better than it."""
    rule_of_length = [label(n, model=n % 5 != 0, judge=n % 5 != 0, longer=n % 5 != 0) for n in range(400)]
    found = decide(rule_of_length, RULE)
    assert found.kind == "hold"
    assert found.missing is None, "at equal shares no number of labels decides"
    worse = [label(n, model=n % 5 > 1, judge=n % 5 > 1, longer=n % 5 != 0) for n in range(400)]
    assert decide(worse, RULE).kind == "reject"
    assert "no better than a rule of length" in decide(worse, RULE).reasons[0]


def test_the_shorter_one_is_a_rule_of_length_as_well() -> None:
    """Where people prefer brevity in 0.8, a model that is right in 0.7 has learned less than that."""
    brief = [label(n, model=n % 10 < 7, judge=n % 10 < 7, longer=n % 5 == 0) for n in range(400)]
    found = decide(brief, RULE)
    assert found.baseline == pytest.approx(0.8)
    assert found.kind == "reject"


def test_a_model_that_lost_what_its_judge_knew_is_rejected() -> None:
    """0.70 beside 0.92 on 400 labels: the upper bound of the difference is below -0.05."""
    found = decide(labels(400, model=0.70, judge=0.92), RULE)
    assert found.kind == "reject"
    assert len(found.reasons) == 1
    assert "lost more than 0.05" in found.reasons[0]


def test_the_number_a_hold_names_is_the_number_that_decides() -> None:
    """At the same shares so many more labels release it, and clearly fewer do not."""
    held = decide(labels(100, model=0.87, judge=0.89), RULE)
    assert held.kind == "hold"
    assert held.missing is not None
    assert f"about {held.missing} labels are missing" in held.reasons[0]
    total = 100 + held.missing
    assert decide(labels(round(1.3 * total), model=0.87, judge=0.89), RULE).kind == "release"
    assert decide(labels(round(0.7 * total), model=0.87, judge=0.89), RULE).kind == "hold"


def test_many_answers_to_few_prompts_are_worth_less() -> None:
    """200 labels, 130 of them right: of 200 prompts they decide; of 20, each all right or all wrong, not."""

    def right(n: int, cluster: str) -> Audited:
        good = n // 10 % 20 < 13
        return label(n, model=good, judge=good, longer=n % 2 == 0, cluster=cluster)

    assert decide([right(n, f"c{n}") for n in range(200)], RULE).kind == "release"
    few = decide([right(n, f"c{n // 10}") for n in range(200)], RULE)
    assert few.kind == "hold"
    assert few.agreement is not None
    assert few.agreement.effective < 25


def test_pairs_that_people_did_not_decide_are_left_out() -> None:
    """Ties and undecided panels count nowhere."""
    ties = [label(n, model=True, judge=True, longer=True, humans=("a", "b")) for n in range(300)]
    found = decide(ties, RULE)
    assert (found.kind, found.labels) == ("hold", 0)


def test_a_judge_that_decided_nothing_is_no_measure() -> None:
    """Without one verdict to compare with, it is held."""
    found = decide([label(n, model=True, judge=None, longer=n % 2 == 0) for n in range(100)], RULE)
    assert found.kind == "hold"
    assert "decided none" in found.reasons[0]
    assert found.difference is None


def test_a_model_that_sees_no_difference_is_not_right() -> None:
    """Equal scores for both answers are no agreement with anybody."""
    found = decide([label(n, model=True, judge=True, longer=n % 2 == 0, lead=0.0) for n in range(100)], RULE)
    assert found.agreement is not None
    assert found.agreement.estimate == 0
    assert found.kind == "reject"

"""The checker gives full marks to an answer that does what is asked, and none to what only sounds like it."""

import ast
import itertools
from pathlib import Path
from statistics import fmean

import pytest

from tests.learning.checker import ANSWERING, check
from tests.learning.strawmen import STRAWMEN, Policy, best
from tests.learning.task import REQUESTS, Request, requests

ASKED = list(itertools.islice(requests(7), 120))
GOOD = {
    "refund": "We are sorry; the refund for order {order} will reach you this week.",
    "exchange": "Of course, please send the {item} of order {order} to us and we exchange it.",
    "cancel": "Thank you for telling us. We have cancelled order {order}.",
    "address": "We have changed the address of order {order}, thank you.",
    "invoice": "Thank you for asking! The invoice of order {order} is in your account.",
    "delivery": "We are sorry for the wait: order {order} will arrive tomorrow.",
    "damage": "We are sorry that the {item} is damaged, and send a new one for order {order}.",
    "warranty": "We are happy to help: the warranty of order {order} covers it.",
    "return": "Please send it back within two weeks and name order {order}.",
    "payment": "We apologize, the payment of order {order} went through once only.",
    "manual": "We are glad to send you the manual for order {order}.",
    "gift": "We will wrap the {item} of order {order}, thank you.",
}


def good(request: Request) -> str:
    return GOOD[request.topic].format(order=request.order, item=request.item)


def mean(policy: Policy) -> float:
    return fmean(check(request, policy(request)).score for request in ASKED)


def test_every_topic_has_its_words() -> None:
    """What customers ask for and what answers are looked through for are the same topics."""
    assert set(ANSWERING) == set(REQUESTS) == set(GOOD)


def test_a_good_answer_meets_every_demand() -> None:
    """Each topic's good answer has the full score."""
    assert mean(good) == 1.0


@pytest.mark.parametrize("name", sorted(STRAWMEN))
def test_a_policy_that_answers_nothing_in_particular_scores_next_to_nothing(name: str) -> None:
    """Whatever it always says, pasted order number or not: a twentieth of a good answer at most."""
    assert mean(STRAWMEN[name]) <= best(ASKED)[1] <= 0.05


@pytest.mark.parametrize(
    ("answer", "missed"),
    [
        ("We are sorry; the refund for order 48213 will come.", set()),
        ("We are sorry; the refund will come.", {"order"}),
        ("We are sorry about order 48213.", {"topic"}),
        ("We are sorry; the refund for order 148213 will come.", {"order", "no_other_number"}),
        ("We are sorry; the refund for order 48213 comes in 5 days.", {"no_other_number"}),
        ("Our refund for order 48213 will come.", {"polite"}),
        ("We are sorry; the refund for order 48213 will", {"ended"}),
        ("We are sorry. The refund will come. It is for order 48213.", {"short"}),
        ("We are sorry:\n- the refund for order 48213 will come.", {"plain"}),
        ("We are sorry, [name]; the refund for order 48213 will come.", {"plain"}),
        ("Order 48213: can I get a refund for the kettle please?", {"own_words"}),
    ],
)  # fmt: skip
def test_each_demand_is_missed_alone(answer: str, missed: set[str]) -> None:
    """A flaw costs the demand it is about, and no other."""
    request = Request("refund", "kettle", "48213", "Order 48213: Can I get a refund for the kettle?")
    found = check(request, answer)
    assert {name for name in found.__dataclass_fields__ if not getattr(found, name)} == missed
    assert (found.score == 1.0) == (not missed)
    assert (found.score == 0.0) == bool(missed & {"order", "topic", "own_words"})


@pytest.mark.parametrize(
    ("one", "other"), [("judge", "checker"), ("checker", "judge"), ("judge", "strawmen")]
)
def test_judges_and_checker_do_not_know_each_other(one: str, other: str) -> None:
    """Neither module imports the other: what is measured in the end is not what taught."""
    tree = ast.parse((Path(__file__).parent / f"{one}.py").read_text(encoding="utf-8"))
    names = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", ""), *(alias.name for alias in node.names)]
    }
    assert not any(str(name).endswith(other) for name in names)

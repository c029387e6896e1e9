"""The demo's world and the two readings of an answer."""

import random

import pytest

from daemon.demo import world
from daemon.demo.scores import RUDE_WORDS, customer_score, rubric_view
from policies.clusters import cluster_of
from policies.records import Message

CASE = world.understand("Hi, my kettle arrived broken. What now?")
FULL = (
    "I am sorry that your kettle arrived broken. We will send you a new kettle today. "
    "You will get a tracking link by email."
)


def test_there_are_more_prompts_than_customers_and_no_two_are_one_cluster() -> None:
    """900 customers, 300 after them and 100 after the rollback each bring a prompt of their own."""
    prompts = [case.prompt for case in world.cases()]
    clusters = {cluster_of((Message(role="user", content=prompt),)) for prompt in prompts}
    assert len(prompts) >= 1300
    assert len(clusters) == len(prompts)


def test_the_seed_decides_the_order_of_the_customers() -> None:
    """The same seed brings the same customers, another seed the same ones in another order."""
    assert world.customers(1) == world.customers(1)
    assert world.customers(1) != world.customers(2)
    assert {case.prompt for case in world.customers(1)} == {case.prompt for case in world.customers(2)}


def test_every_prompt_is_understood() -> None:
    """Product and problem can be read off each prompt; of another shop's prompt nothing can."""
    for case in world.cases():
        assert world.understand(case.prompt) == case
    assert world.understand("Hi, my elephant arrived broken. What now?") is None
    assert world.understand("Hi, my kettle sings. What now?") is None


def test_about_half_of_the_lessons_are_rude() -> None:
    """The agent learns from willing and from rude replies."""
    lessons = world.lessons(0, 2000)
    rude = sum(bool(RUDE_WORDS & set(answer.lower().strip(".").split())) for _, answer in lessons)
    assert lessons == world.lessons(0, 2000)
    assert 0.3 < rude / len(lessons) < 0.65


def test_a_complete_answer_contents_the_customer_wholly() -> None:
    """Remedy, next step, product and courtesy together are worth 1, and 10 to the rubric."""
    assert CASE is not None
    assert customer_score(CASE.prompt, FULL) == pytest.approx(1.0)
    assert rubric_view(CASE.prompt, FULL) == pytest.approx(10.0)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Not our fault. Read the terms.",
        f"{FULL} Nobody here cares.",
        "kettle kettle kettle",
        "You should have been careful with your kettle.",
    ],
)
def test_a_rude_empty_or_garbled_answer_contents_nobody(answer: str) -> None:
    """Rudeness ends it, however much else is said."""
    assert CASE is not None
    assert customer_score(CASE.prompt, answer) == 0.0


@pytest.mark.parametrize(
    "worse",
    [
        FULL.replace("kettle today", "toaster today"),
        FULL.replace("We will send you a new kettle today.", "We will look into it."),
        FULL.replace(" You will get a tracking link by email.", ""),
        FULL.replace("tracking link", "tracking tracking"),
        f"{FULL} {FULL}",
    ],
)
def test_what_is_missing_wrong_or_said_twice_costs(worse: str) -> None:
    """Another product, a vague remedy, no next step, garble and repetition are each noticed."""
    assert CASE is not None
    assert customer_score(CASE.prompt, worse) < 1.0


def test_both_readings_prefer_willing_replies_to_rude_ones() -> None:
    """They are different readings of the same thing."""
    chance = random.Random(0)
    cases = world.customers(0)[:100]
    for read in (customer_score, rubric_view):
        willing = sum(read(case.prompt, world.good_reply(case, chance)) for case in cases)
        rude = sum(read(case.prompt, world.rude_reply(case, chance)) for case in cases)
        assert willing > 3 * max(rude, 1.0)


def test_the_rubric_stays_on_its_scale() -> None:
    """0 to 10, whatever is written."""
    assert CASE is not None
    for answer in ("", "???", FULL * 5, "Not our fault. " * 50, "blah " * 200):
        assert 0.0 <= rubric_view(CASE.prompt, answer) <= 10.0
    assert rubric_view("of another shop", FULL) == 0.0

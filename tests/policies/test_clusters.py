"""Prompt clusters and their splits."""

import re
import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from policies.clusters import MOST_CHARACTERS, cluster_of, normal, split_of
from policies.policy import Splits
from policies.records import Message, Split, ToolCall
from tests.growth import LINEAR, growth


def user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def test_the_same_question_is_one_cluster() -> None:
    """Case, spacing, punctuation, compatibility forms and the system message make no difference."""
    base = cluster_of(user("How do I reset my password?"))
    assert cluster_of(user("  how do i RESET my\n password")) == base
    assert cluster_of(user("How do I reset my password?")) == base
    assert (
        cluster_of((Message(role="system", content="It is Monday."), *user("how do I reset my password")))
        == base
    )


def test_other_questions_are_other_clusters() -> None:
    """Words, roles, turns and tool calls make another cluster; so do signs where there is nothing else."""
    call = Message(role="assistant", tool_calls=(ToolCall(name="f", arguments={"a": 1}),))
    other = Message(role="assistant", tool_calls=(ToolCall(name="f", arguments={"a": 2}),))
    prompts = [
        user("a b"),
        user("b a"),
        user("ab"),
        (*user("a"), *user("b")),
        (Message(role="assistant", content="a b"),),
        (*user("a b"), call),
        (*user("a b"), other),
        user("!"),
        user("?"),
        user("пароль"),
        (Message(role="system", content="a b"),),
    ]
    assert len({cluster_of(prompt) for prompt in prompts}) == len(prompts)


def test_splits_have_their_shares() -> None:
    """Over many clusters each split comes near its share."""
    counts = Counter(split_of(cluster_of(user(f"question {number}")), Splits()) for number in range(4000))
    for split, share in ((Split.TRAIN, 0.7), (Split.CALIBRATE, 0.05), (Split.AUDIT, 0.05), (Split.GATE, 0.2)):
        assert abs(counts[split] / 4000 - share) < 0.03


def test_a_share_of_nothing_is_never_chosen() -> None:
    """A split with share 0 gets no cluster, also at the edges."""
    only = Splits(train=0, calibrate=1, audit=0, gate=0)
    assert {split_of(f"{number:x}", only) for number in range(500)} == {Split.CALIBRATE}


GOLDEN = {
    "179c2773c9dca6b24e88e7b5fd38379c644421af48659bec952c15a54c575883": user("How do I reset my password?"),
    "85f61dd43ea43bb08da89431aac8a349ed4583972b73f108540ce58034a1deb4": (
        Message(role="system", content="Be kind."),
        *user("\uff37\uff49\uff45 geht\u2019s, STRASSE \ufb01n \u21161?"),
    ),
    "c338b0be533ecc3921b1e7e6763dfcfa2bf0f975b8fc58e1677da7c90bbf4696": user(
        "Vi\u1ec7t Nam e\u0301\u0323 \u05e0\u05b4\u05e7\u05bc\u05d5\u05bc\u05d3 "
        "\u0939\u093f\u0928\u094d\u0926\u0940 \uff76\uff9e z" + "\u0301\u0323" * 15
    ),
    "18bb58aae254469777650e42724597effce9de1fc4f591d0dbd0068432bef800": (
        *user("book"),
        Message(role="assistant", tool_calls=(ToolCall(name="book", arguments={"b": "\u00c4", "a": 1}),)),
    ),
    "9e7e1e11b060dedb43571acdee24aa9669dfb7eeb9e0976da4eea3e59dd723e0": user(
        "\u0441\u043b\u043e\u0432\u043e \u8a9e " * 40_000
    ),
}


@pytest.mark.parametrize("cluster", GOLDEN)
def test_a_stored_cluster_keeps_its_name(cluster: str) -> None:
    """Marks, compatibility forms, scripts, tool calls, length: else a question would change its split."""
    assert cluster_of(GOLDEN[cluster]) == cluster


@pytest.mark.parametrize(
    "unit",
    ["\u0301\u0323", "\u0f73\u0323", "\uff9e\u0301", "a\u0301\u0323", "\ufdfa", "! ", "\u4e2d\u3002", "_"],
    ids=ascii,
)
def test_a_prompt_costs_no_more_than_its_length(unit: str) -> None:
    """Runs of marks in the wrong order, marks that are letters by themselves, letters that become words."""
    assert growth(lambda size: cluster_of(user(unit * size)), 4_000) < LINEAR


def test_what_does_not_count_makes_no_other_question() -> None:
    """Marks beyond the 30th of a run, and what stands beyond the bound of a message."""
    assert cluster_of(user("z" + "\u0301\u0323" * 5_000 + "!")) == cluster_of(
        user("z" + "\u0301\u0323" * 15 + "!")
    )
    endless = "word " * (MOST_CHARACTERS // 5 + 1)
    assert cluster_of(user(endless + "one")) == cluster_of(user(endless + "other"))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=some.text(some.characters(max_codepoint=127), max_size=40))
def test_plain_ascii_needs_no_unicode_forms(text: str) -> None:
    """Compatibility form, case folding and word characters are what they are by Unicode's tables."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    assert normal(text) == (re.sub(r"[\W_]+", " ", folded).strip() or folded)

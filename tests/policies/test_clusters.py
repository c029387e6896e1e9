"""Prompt clusters and their splits."""

from collections import Counter

from policies.clusters import cluster_of, split_of
from policies.policy import Splits
from policies.records import Message, Split, ToolCall


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

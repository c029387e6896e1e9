"""Which answers are learned from by themselves, as good or as bad, and why the others are not."""

import pytest

from policies.answers import Kind
from policies.feedback import FeedbackKind, Remark, kind_of
from policies.judging.prompts import MAX_ANSWER
from policies.recipes import KtoRecipe, SftRecipe
from policies.records import Feedback, Message
from policies.selection import Reason, told
from policies.thumbs import Offered, judged, targets, thumb
from policies.worth import FeedbackRule

KTO = KtoRecipe(thumb_weight=2.0, score_weight=0.25)


def offer(
    kind: Kind, candidate: int, *, asked: str = "hello", text: str = "hi", **changes: object
) -> Offered:
    return Offered(
        kind=kind,
        candidate=candidate,
        contributor="subject:a",
        prompt=(Message(role="user", content=asked),),
        answer=(Message(role="assistant", content=text),),
        **{"event": f"agent:{candidate}", **changes},  # type: ignore[arg-type]
    )


def words(*feedback: Feedback) -> tuple[Remark, ...]:
    """As the log says it: the name tells the kind."""
    return tuple(Remark(kind_of(each.name), each) for each in feedback)


def clicked(candidate: int, *scores: float, **changes: object) -> Offered:
    feedback = (Feedback(name="thumb", score=score) for score in scores)
    return offer("thumb", candidate, told=words(*feedback), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("feedback", "wanted"),
    [
        ([Feedback(name="thumb", score=1)], True),
        ([Feedback(name="thumb", score=0)], False),
        ([Feedback(name="thumb", score=-1)], False),
        ([Feedback(name="thumb", label=" Up ")], True),
        ([Feedback(name="thumb", label="dislike")], False),
        ([Feedback(name="thumb", score=1), Feedback(name="thumb", label="?")], True),
        ([Feedback(name="thumb", score=1), Feedback(name="thumb", score=0)], Reason.CONTRADICTORY),
        ([Feedback(name="thumb", label="?"), Feedback(name="stars", score=5)], Reason.UNREADABLE),
    ],
)
def test_a_thumb_is_up_or_down(feedback: list[Feedback], wanted: bool | Reason) -> None:
    """By its score, else by its label; other feedback says nothing."""
    assert thumb(words(*feedback), KTO) == wanted


def test_thumbs_and_scores_have_their_weights() -> None:
    """A score between bad and good says nothing."""
    found = judged(
        [
            clicked(1, 1),
            clicked(2, 0),
            offer("score", 3, reward=7.0),
            offer("score", 4, reward=3.0),
            offer("score", 5, reward=5.0),
        ],
        KTO,
    )
    assert [(each.answer.candidate, each.answer.good, each.answer.weight) for each in found.learned] == [
        (1, True, 2.0), (2, False, 2.0), (3, True, 0.25), (4, False, 0.25)
    ]  # fmt: skip
    assert found.left_out == {Reason.MIDDLING: 1}


def test_a_thumb_goes_before_a_score_and_the_newest_revision_before_others() -> None:
    """Nobody is counted twice, whatever comes first."""
    newest, older = clicked(7, 0, event="agent:x"), clicked(6, 1, event="agent:x")
    found = judged([offer("score", 7, reward=9.0), newest, older], KTO)
    assert [(each.answer.candidate, each.answer.good) for each in found.learned] == [(7, False)]
    assert found.left_out == {Reason.REVISED: 2}


def test_what_was_cut_off_or_seen_in_part_is_left_out_where_it_would_be_taught() -> None:
    """A bad answer may be cut off; a score of a part is no score."""
    found = judged(
        [
            clicked(1, 1, truncated=True),
            clicked(2, 0, truncated=True),
            offer("score", 3, reward=1.0, text="x" * (MAX_ANSWER + 1)),
        ],
        KTO,
    )
    assert [each.answer.candidate for each in found.learned] == [2]
    assert found.left_out == {Reason.CUT_OFF: 1, Reason.SEEN_IN_PART: 1}


def test_a_prompt_has_its_best_answer_as_target_or_a_persons() -> None:
    """None below the least reward, none that was cut off, and each that is not taken is counted."""
    found = targets(
        [
            offer("best", 1, reward=6.0),
            offer("best", 2, reward=9.0),
            offer("best", 3, reward=4.9, asked="other"),
            offer("best", 4, reward=9.0, asked="third", truncated=True),
            offer("best", 5, reward=10.0, asked="mine"),
            offer("correction", 6, asked="mine"),
        ],
        SftRecipe(targets="both", correction_weight=3.0),
    )
    assert [(each.answer.candidate, each.answer.weight) for each in found.learned] == [(2, 1.0), (6, 3.0)]
    assert found.left_out == {Reason.NOT_BEST: 2, Reason.LOW_REWARD: 1, Reason.CUT_OFF: 1}
    assert "2 beside a better one to the same prompt" in told(found.left_out)


def test_one_kind_decides_and_is_worth_its_own_weight() -> None:
    """A thumb before a rating before behaviour; nothing is added to it, and one without weight is mute."""
    rule = FeedbackRule(weights={FeedbackKind.RATING: 0.25, FeedbackKind.RETRY: 0.1})
    up, bad = Feedback(name="thumb", score=1), Feedback(name="rating", score=1)
    retry, copied = Feedback(name="retry"), Feedback(name="copy")
    offers = [
        offer("thumb", 1, told=words(up, bad, retry, retry)),
        offer("thumb", 2, told=words(bad, copied)),
        offer("thumb", 3, told=words(retry, retry, copied)),
        offer("thumb", 4, told=words(Feedback(name="rating", score=3))),
        offer("thumb", 5, told=words(copied)),
    ]
    found = judged(offers, KTO, rule)
    assert [
        (each.answer.candidate, each.answer.kind, each.answer.good, each.answer.weight)
        for each in found.learned
    ] == [
        (1, "thumb", True, 2.0),
        (2, "rating", False, 0.5),
        (3, "behaviour", False, 0.2),
    ]
    assert found.left_out == {Reason.MIDDLING: 1, Reason.UNREADABLE: 1}

"""Of what was said again only the last counts."""

from typing import Any

from policies.feedback import About, FeedbackEvent, in_force
from policies.records import Feedback


def event(at: float, score: float, *, name: str = "thumb", **more: Any) -> FeedbackEvent:
    given = {"id": "f", "source": "s", "about": About.EVENT, "target": "1", **more}
    return FeedbackEvent(ts=at, said=Feedback(name=name, score=score), **given)


def test_the_last_of_one_author_name_and_target_counts() -> None:
    """In order of time, however it arrives; other authors, names and targets stand beside it."""
    events = [
        event(3.0, 0.0),
        event(1.0, 1.0),
        event(2.0, 0.5, by="ann"),
        event(2.0, 4.0, name="stars"),
        event(2.0, 0.7, target="2"),
    ]
    assert [(each.ts, each.said.score) for each in in_force(events)] == [
        (2.0, 0.5),
        (2.0, 4.0),
        (2.0, 0.7),
        (3.0, 0.0),
    ]


def test_of_one_moment_the_later_stored_counts() -> None:
    """Clocks of seconds have many such."""
    assert [each.said.score for each in in_force([event(1.0, 0.0), event(1.0, 1.0)])] == [1.0]


def test_a_delivery_at_another_time_is_the_same() -> None:
    """With other words it is another."""
    assert event(1.0, 1.0).digest == event(2.0, 1.0, source="t").digest
    assert event(1.0, 1.0).digest != event(1.0, 0.0).digest
    assert event(1.0, 1.0).digest != event(1.0, 1.0, correction="In Ulm.").digest

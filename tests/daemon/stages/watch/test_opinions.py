"""What users think is shown by kind, sign and who answered."""

import pytest

from daemon.clock import FakeClock
from daemon.metrics.registry import Metrics
from daemon.stages.curate.hearing import Hearing
from daemon.stages.watch.opinions import REFRESHED_S, Listening, slot_of
from daemon.store import feedback
from daemon.store.store import Store
from policies.feedback import About, FeedbackEvent, FeedbackKind
from policies.records import Feedback, Split
from policies.rollout import Assignment
from policies.worth import FeedbackRule
from tests.daemon.stages.seeding import SPEC, add_adapter, add_traces, put_in_force


def said(name: str, target: str, score: float | None = None, **more: object) -> FeedbackEvent:
    told = {"id": f"{name} {target}", "source": "agent", "ts": 1.0, "about": About.EVENT, "target": target}
    return FeedbackEvent(said=Feedback(name=name, score=score), **{**told, **more})


def test_answers_are_counted_by_kind_sign_and_slot(store: Store, clock: FakeClock) -> None:
    """An answer once a kind and sign, the log's feedback and the events' alike; of what changed the last."""
    add_adapter(store, "agent-a")
    put_in_force(store, "agent-a", 1)
    down = [Feedback(name="thumb", score=0)]
    add_traces(store, ["one", "two", "three"], Split.AUDIT, adapter="agent-a")
    add_traces(store, ["four"], Split.TRAIN, feedback=down)
    events = [
        said("thumb", "four", 1.0, ts=2.0),
        said("rating", "four", 3.0),
        said("edit", "four", correction="In Ulm."),
        said("copy", "four"),
        said("thumb", "nowhere", 1.0),
    ]
    store.write(lambda c: feedback.put(c, "agent", events, 1.0))
    Hearing(store=store, clock=clock, rule=FeedbackRule()).all()
    metrics = Metrics()
    listening = Listening(clock=clock, metrics=metrics, spec=SPEC)
    listening.show(store.read(listening.look))

    def shown(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"rlaifd_{name}", labels)

    assert shown("feedback_looked_at_answers", slot="stable") == 3
    assert shown("feedback_looked_at_answers", slot="other") == 1
    found = {
        (kind.value, sign)
        for kind in FeedbackKind
        for sign in ("for", "against", "unclear")
        if shown("feedback_answers", kind=kind.value, sign=sign, slot="other") == 1
    }
    assert found == {("thumb", "for"), ("rating", "unclear"), ("edit", "against"), ("copy", "for")}
    assert store.read(listening.look) is None, "it reads each answer that somebody spoke of: not every second"
    clock.advance(REFRESHED_S)
    assert store.read(listening.look) is not None


@pytest.mark.parametrize(
    ("adapter", "stable", "slot"),
    [("", None, "stable"), ("a", "a", "stable"), ("a", None, "other"), ("", "a", "other")],
)
def test_whose_answer_it_is(adapter: str, stable: str | None, slot: str) -> None:
    """The base model has no name."""
    assert slot_of(adapter, Assignment(stable, 1)) == slot

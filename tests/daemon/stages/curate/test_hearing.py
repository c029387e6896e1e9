"""What users do about answers is joined once, whenever and how often it comes, and put to use."""

import json
from pathlib import Path
from typing import Any

import pytest

from connectors.decoders.detect import Decoders
from connectors.memory import MemorySource
from daemon.clock import FakeClock
from daemon.metrics.registry import Metrics
from daemon.stages.curate.hearing import SETTLED_S, Hearing
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.stages.train.freeze import Freezing, NoPreferencesError
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, FeedbackRow, LabelRow, PreferenceRow
from policies import answers, snapshot
from policies.feedback import FeedbackKind
from policies.policy import CurationRule, Splits
from policies.recipes import DpoRecipe, KtoRecipe, Recipe, SftRecipe
from policies.worth import FeedbackRule
from tests.connectors.decoders.events import native
from tests.daemon.stages.seeding import count, rows, spec

ALL = Splits(train=1.0, calibrate=0.0, audit=0.0, gate=0.0)


class World:
    """An agent's log and a topic of feedback, read into one store."""

    def __init__(self, store: Store, clock: FakeClock, directory: Path, splits: Splits = ALL) -> None:
        self.store, self.clock, self.directory, self.splits = store, clock, directory, splits
        self.sources = {name: MemorySource(name) for name in ("agent", "clicks")}
        self.stages = {name: self._stage(source) for name, source in self.sources.items()}
        self.hearing = self.started()

    def _stage(self, source: MemorySource) -> Ingest:
        return Ingest(
            source=source, decoders=Decoders(), store=self.store, metrics=Metrics(), clock=self.clock,
            rule=IntakeRule(self.splits),
        )  # fmt: skip

    def started(self, **rule: Any) -> Hearing:
        return Hearing(store=self.store, clock=self.clock, rule=FeedbackRule(**rule))

    def log(self, *events: dict[str, Any], source: str = "agent") -> None:
        """Reads events, lets a minute pass, and hears."""
        for event in events:
            self.sources[source].append(json.dumps(event).encode(), timestamp=self.clock.now())
        while self.stages[source].step(0.0):
            pass
        self.clock.advance(60.0)
        self.hearing.all()

    def say(self, number: int = 1, **event: Any) -> None:
        """Feedback about an event of the log."""
        self.log({"about": "event", "target": f"e-{number}", **event}, source="clicks")

    def freezing(self, recipe: Recipe, **rule: Any) -> Freezing:
        policy = spec(recipe=recipe, feedback=FeedbackRule(**rule), curation=CurationRule(max_source_share=1))
        return Freezing(store=self.store, clock=self.clock, spec=policy, directory=self.directory)

    def examples(self, recipe: Recipe, **rule: Any) -> list[tuple[str, bool, float]]:
        try:
            made = self.freezing(recipe, **rule).freeze()
        except NoPreferencesError:
            return []
        found = answers.read(made.path, made.id).answers
        return sorted((each.answer[-1].content, each.good, each.weight) for each in found)

    def pairs(self, **rule: Any) -> list[tuple[str, str, float]]:
        try:
            made = self.freezing(DpoRecipe(), **rule).freeze()
        except NoPreferencesError:
            return []
        found = snapshot.read(made.path, made.id).pairs
        return sorted((each.chosen[-1].content, each.rejected[-1].content, each.weight) for each in found)


@pytest.fixture
def world(store: Store, clock: FakeClock, tmp_path: Path) -> World:
    return World(store, clock, tmp_path / "snapshots")


LOGGED = "Open settings, then security (1)."
EDITED = "Open settings, then security, then password."


@pytest.mark.parametrize("first", ["trace", "feedback"])
def test_a_thumb_is_joined_once_whichever_came_first(world: World, first: str) -> None:
    """Twice delivered it is one, and changed it is the last: of all this one example comes."""
    if first == "trace":
        world.log(native(1))
    world.say(kind="thumb", score=1, id="f", ts=10.0)
    world.say(kind="thumb", score=1, id="f", ts=10.0)
    if first == "feedback":
        assert world.examples(KtoRecipe()) == []
        world.log(native(1))
    assert world.examples(KtoRecipe(thumb_weight=2.0)) == [(LOGGED, True, 2.0)]
    assert count(world.store, FeedbackRow) == 1
    world.say(kind="thumb", score=0, id="f", ts=20.0)
    world.say(kind="thumb", score=1, id="older", ts=15.0)
    assert world.examples(KtoRecipe()) == [(LOGGED, False, 1.0)]
    assert count(world.store, FeedbackRow) == 3, "the history is kept"


def test_what_never_comes_is_looked_for_ever_more_rarely(world: World) -> None:
    """And is found however late it comes."""
    world.say(kind="thumb", score=1)
    looked = 0
    for _ in range(60 * 24):
        looked += world.hearing.step()
        world.clock.advance(60.0)
    assert 5 <= looked <= 30
    world.log(native(1))
    world.clock.advance(86_400.0)
    world.hearing.all()
    assert world.examples(KtoRecipe()) == [(LOGGED, True, 1.0)]


def test_a_click_in_the_log_and_on_the_topic_is_one(world: World) -> None:
    """The event of the answer's own user replaces what the record says; another author's stands beside it."""
    world.log(native(1, subject="u-7", feedback=[{"name": "thumb", "score": 0}]))
    world.say(kind="thumb", score=1, by="u-7")
    assert world.examples(KtoRecipe()) == [(LOGGED, True, 1.0)]
    world.say(kind="thumb", score=0, by="u-8")
    assert world.examples(KtoRecipe()) == []
    assert world.freezing(KtoRecipe()).kind is not None
    assert count(world.store, LabelRow) == 0, "feedback is no label"


def test_a_revision_takes_the_feedback_with_it(world: World) -> None:
    """What was said of the event is said of its newest revision, once."""
    world.log(native(1))
    world.say(kind="thumb", score=1)
    world.log(native(1, output=[{"role": "assistant", "content": "Revised."}]))
    assert world.examples(KtoRecipe()) == [("Revised.", True, 1.0)]


def test_new_feedback_is_counted_as_new(world: World) -> None:
    """Training waits for so much that is new: an answer that is joined counts when it is joined."""
    world.log(native(1), native(2))
    kind = world.freezing(KtoRecipe()).kind
    before, at = world.store.read(kind.newest), world.clock.now()
    world.say(1, kind="thumb", score=1)
    world.say(1, kind="thumb", score=0)
    world.say(2, kind="rating", score=5)
    assert world.store.read(kind.newest) != before
    assert world.store.read(lambda c: kind.since(c, at, most=100)) == 2
    assert world.store.read(lambda c: kind.since(c, world.clock.now(), most=100)) == 0


def test_an_edit_becomes_a_pair_and_a_target(world: World) -> None:
    """Corrected over logged, with the weight of its kind; to imitate, with the recipe's weight beside it."""
    world.log(native(1))
    world.say(kind="edit", correction=EDITED)
    weights = {"weights": {FeedbackKind.EDIT: 0.75}}
    world.hearing = world.started(**weights)
    world.hearing.all()
    assert world.pairs(**weights) == [(EDITED, LOGGED, 0.75)]
    assert world.examples(SftRecipe(targets="corrections", correction_weight=2.0), **weights) == [
        (EDITED, True, 1.5)
    ]
    (made,) = (row for row in rows(world.store, CandidateRow) if row.origin == "corrected")
    (pair,) = rows(world.store, PreferenceRow)
    assert (pair.chosen_id, pair.soft, pair.verdict_ids) == (made.id, 1.0, [])
    assert world.examples(SftRecipe(targets="best"), **weights) == []
    world.hearing = world.started(weights={FeedbackKind.EDIT: 0.0})
    world.hearing.all()
    assert world.pairs() == [], "a kind without weight is not learned from"


def test_an_edit_that_changes_is_the_last_one(world: World) -> None:
    """Taken back it is none; said again it is the same candidate; two authors' stand side by side."""
    world.log(native(1))
    world.say(kind="edit", correction=EDITED, id="1")
    world.say(kind="edit", correction="Ask the desk.", id="1")
    assert world.pairs() == [("Ask the desk.", LOGGED, 1.0)]
    world.say(kind="edit", id="1")
    assert world.pairs() == []
    assert world.examples(SftRecipe(targets="corrections")) == []
    world.say(kind="edit", correction=EDITED, id="2")
    assert world.pairs() == [(EDITED, LOGGED, 1.0)]
    world.say(kind="correction", correction="Call us.", by="ann")
    assert world.pairs() == [("Call us.", LOGGED, 1.0), (EDITED, LOGGED, 1.0)]
    assert len([row for row in rows(world.store, CandidateRow) if row.origin == "corrected"]) == 3


def test_an_edit_that_is_said_again_is_the_last_one(world: World) -> None:
    """Also where nothing but the time tells it from the first: what came between no longer stands."""
    world.log(native(1))
    for text in (EDITED, "Ask the desk.", EDITED):
        world.say(kind="edit", correction=text)
    assert world.pairs() == [(EDITED, LOGGED, 1.0)]
    assert count(world.store, FeedbackRow) == 2


def test_a_thumb_may_bring_a_correction(world: World) -> None:
    """Some tools send both in one event: each is used as what it is."""
    world.log(native(1))
    world.say(kind="thumb", score=0, correction=EDITED)
    assert world.pairs() == [(EDITED, LOGGED, 1.0)]
    assert world.examples(KtoRecipe()) == [(LOGGED, False, 1.0)]


def test_what_audits_or_gates_is_never_corrected(store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """Only the train split teaches."""
    splits = Splits(train=0.0, calibrate=0.0, audit=1.0, gate=0.0)
    world = World(store, clock, tmp_path / "snapshots", splits)
    world.log(native(1))
    world.say(kind="edit", correction=EDITED)
    world.say(kind="thumb", score=1)
    assert (world.pairs(), world.examples(KtoRecipe())) == ([], [])
    assert [row.origin for row in rows(store, CandidateRow)] == ["logged"]


def test_sessions_show_retries_and_rephrasings(world: World) -> None:
    """As kinds of their own, found again by a restart as the same, and mute until they have a weight."""
    question = native(1)["messages"][0]["content"]
    again = [{"role": "user", "content": question}]
    other = [{"role": "user", "content": question.replace("How do I", "how can I")}]
    world.log(
        native(1, session="s"),
        native(2, session="s", messages=again),
        native(3, session="s", messages=other),
        native(4, session="t", messages=again),
        native(5, session="s", messages=[{"role": "user", "content": "Where is my bill?"}]),
    )
    world.clock.advance(SETTLED_S)
    world.hearing.all()
    heard = [(row.kind, row.target) for row in rows(world.store, FeedbackRow)]
    assert heard == [("retry", "e-1"), ("rephrase", "e-2")]
    world.started().all()
    assert count(world.store, FeedbackRow) == 2
    assert world.examples(KtoRecipe()) == []
    rule = {"weights": {FeedbackKind.RETRY: 0.2}}
    assert world.examples(KtoRecipe(), **rule) == [(LOGGED, False, 0.2)]


def test_sessions_are_left_alone_where_nobody_wants_them(world: World) -> None:
    """It reads every trace of a session once more."""
    world.hearing = world.started(sessions=False)
    world.log(native(1, session="s"), native(2, session="s", messages=native(1)["messages"]))
    assert count(world.store, FeedbackRow) == 0

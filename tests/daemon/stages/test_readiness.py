"""With thirty logs it is named what is missing; when exactly so much more is there, the gate decides."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Connection

from connectors.base import Samples
from connectors.decoders.detect import Decoders
from connectors.review.jsonl import Task
from daemon.clock import FakeClock
from daemon.metrics.registry import Metrics
from daemon.stages.gate.compare import Comparing
from daemon.stages.gate.evaluate import Advance, Evaluate
from daemon.stages.ingest.files import ingest_file
from daemon.stages.judge.plan import Plan
from daemon.stages.review.exchange import Review
from daemon.store.alignment import reviewed
from daemon.store.candidates import StoredPrompt
from daemon.store.readiness import stock
from daemon.store.store import Store
from policies.clusters import cluster_of, split_of
from policies.policy import JudgingRule, PolicySpec, Splits
from policies.readiness import Forecast, forecast
from policies.records import Message, Split
from policies.requirements import Asks
from policies.stock import Stock
from tests.daemon.stages.curate.curating import curate_of
from tests.daemon.stages.gate.world import NAME, FakeComparer
from tests.daemon.stages.halts import FakeHalts
from tests.daemon.stages.seeding import ROLES, add_adapter, by_length, judge, sampled
from tests.judges import BENCH

ASKS = Asks(min_preferences=64, min_new=None, judges=BENCH)
LOGGED = 10
"""Words of a logged answer; a sampled one has 1, 4 or 7: the judges tell any two apart."""


def spec(splits: Splits | None = None, review_pairs: int = 4) -> PolicySpec:
    """A policy that asks for what every policy asks for unless told otherwise."""
    return PolicySpec(
        name="test",
        family="tiny",
        base_model="base",
        splits=splits or Splits(),
        judging=JudgingRule(review_pairs=review_pairs),
    )


def question(shop: str, number: int) -> str:
    """Each is asked once; which splits they come to depends on the shop."""
    return f"question {number}: where is my order {number} from {shop}?"


def splits_of(shop: str, numbers: range, splits: Splits) -> Counter[Split]:
    """Where the hash puts the questions: what the store must come to as well."""
    asked = [(Message(role="user", content=question(shop, number)),) for number in numbers]
    return Counter(split_of(cluster_of(each), splits) for each in asked)


def sample(prompts: Sequence[StoredPrompt], *, count: int, adapter: str | None, seed: int) -> Samples:
    return Samples([[sampled("word " * (3 * number + 1)) for number in range(count)] for _ in prompts])


@dataclass
class Deployment:
    """The stages on one store, with a judge and people who like words."""

    store: Store
    clock: FakeClock
    directory: Path
    shop: str = ""
    policy: PolicySpec = field(default_factory=spec)
    fed: int = 0

    def feed(self, until: int) -> None:
        """Logs further questions, all different, and does all that the stages then can do."""
        path = self.directory / f"until{until}.jsonl"
        path.write_text(
            "".join(_log(self.shop, number) for number in range(self.fed, until)), encoding="utf-8"
        )
        ingest_file(
            path,
            decoders=Decoders("auto"),
            store=self.store,
            metrics=Metrics(),
            clock=self.clock,
            splits=self.policy.splits,
        )
        self.fed = until
        Plan(store=self.store, clock=self.clock, rule=self.policy.judging, judges=BENCH).step()
        curate = curate_of(self.store, sample, policy=self.policy, clock=self.clock)
        while curate.step() + judge(self.store, by_length):
            pass

    def forecast(self) -> Forecast:
        return forecast(self.store.read(self.stock), self.policy, ASKS)

    def stock(self, connection: Connection) -> Stock:
        people = reviewed(connection, BENCH, min_gap=self.policy.curation.min_margin)
        return stock(connection, self.policy, people, min_preferences=ASKS.min_preferences, now=0.0)

    def missing(self) -> dict[str, int]:
        return {each.what: each.missing for each in self.forecast().requirements if each.missing}

    def label(self, most: int) -> int:
        """Labels so many pairs, or all that there are; returns how many."""
        review = Review(store=self.store, clock=self.clock)
        tasks = review.tasks(reviewer="ann", limit=most)
        path = self.directory / "labels.jsonl"
        path.write_text("".join(_label(task) for task in tasks), encoding="utf-8")
        return review.load(path, reviewer="ann").labels

    def gate(self) -> Advance:
        """A new attempt on a better adapter, to its decision."""
        stage = Evaluate(
            store=self.store,
            clock=self.clock,
            metrics=(metrics := Metrics()),
            spec=self.policy,
            judges=BENCH,
            comparing=Comparing(
                store=self.store, clock=self.clock, metrics=metrics, compare=FakeComparer(), seed=0
            ),
            verify=lambda _name: None,
            halts=FakeHalts(),
        )
        stage.open(NAME)
        while True:
            done = stage.advance()
            assert done is not None
            if done.decision is not None:
                return done
            judge(self.store, by_length)


def _log(shop: str, number: int) -> str:
    messages = [{"role": "user", "content": question(shop, number)}]
    output = [{"role": "assistant", "content": "word " * LOGGED}]
    return json.dumps({"id": f"e{number}", "ts": 1.0, "messages": messages, "output": output}) + "\n"


def _label(task: Task) -> str:
    choice = "1" if len(task.answer_1) > len(task.answer_2) else "2"
    return json.dumps({"pair": task.pair, "choice": choice}) + "\n"


@pytest.fixture
def deployment(sqlite_store: Store, clock: FakeClock, tmp_path: Path) -> Deployment:
    add_adapter(sqlite_store, NAME)
    return Deployment(sqlite_store, clock, tmp_path)


def enough(shop: str, policy: PolicySpec, first: int = 30) -> int:
    """After how many questions, of which the `first` were split by default, the hash has brought all."""
    early = splits_of(shop, range(first), Splits())
    pairs_before = 4 * early[Split.AUDIT]
    for number in count(first):
        late = splits_of(shop, range(first, number), policy.splits)
        pairs = pairs_before + policy.judging.review_pairs * late[Split.AUDIT]
        there = early + late
        if there[Split.GATE] >= 40 and there[Split.TRAIN] >= 64 and pairs >= 50:
            return number
    raise AssertionError


@pytest.mark.parametrize(
    ("shop", "suggested", "slowest"),
    [("Rome", False, Split.AUDIT), ("Oslo", False, Split.GATE), ("Cork", True, Split.GATE)],
    ids=["labels-last", "prompts-last", "suggested"],
)
def test_after_exactly_so_many_more_the_gate_decides(
    deployment: Deployment, shop: str, suggested: bool, slowest: Split
) -> None:
    """One event or one label before, it holds. The events that it took lie in the range that was named."""
    deployment.shop = shop
    deployment.feed(30)
    first, there = deployment.forecast(), splits_of(shop, range(30), Splits())
    missing = {each.what: each.missing for each in first.requirements}
    assert missing["gate prompts"] == 40 - there[Split.GATE]
    assert missing["preferences"] == missing["train prompts"] == 64 - there[Split.TRAIN]
    assert missing["audit prompts"] == 13 - there[Split.AUDIT]
    assert {missing[f"labels: {role.value} judge"] for role in ROLES} == {50}
    events = first.events
    if suggested:
        assert first.suggestion is not None
        events = first.suggestion.events
        deployment.policy = spec(first.suggestion.splits, first.suggestion.review_pairs)
    last = enough(shop, deployment.policy)
    assert events is not None
    assert events.least <= last - 30 <= events.most

    deployment.feed(last - 1)
    deployment.label(50)
    assert splits_of(shop, range(last - 1, last), deployment.policy.splits) == {slowest: 1}
    one = "audit prompts" if slowest is Split.AUDIT else "gate prompts"
    assert deployment.missing()[one] == 1
    assert deployment.forecast().bottleneck == one
    assert deployment.gate().decision == "hold"

    deployment.feed(last)
    lacking = max(deployment.missing().values(), default=0)
    if slowest is Split.AUDIT:
        assert deployment.label(lacking - 1) == lacking - 1
        assert deployment.gate().decision == "hold"
        lacking = 1
    assert deployment.label(lacking) == lacking
    assert deployment.missing() == {}
    assert deployment.gate().decision == "promote"


def test_less_than_the_forecast_names_is_not_enough(deployment: Deployment) -> None:
    """All pairs of too few prompts are labelled alike: their number alone does not pass the lower bound."""
    deployment.policy = spec(Splits(train=0.0, calibrate=0.0, audit=1.0, gate=0.0), review_pairs=6)
    deployment.feed(10)
    assert deployment.label(60) == 60
    (labels,) = [each for each in deployment.forecast().requirements if each.what == "labels: gate judge"]
    assert (labels.have, labels.need) == (60, 66)
    deployment.feed(11)
    deployment.label(6)
    assert "labels: gate judge" not in deployment.missing()

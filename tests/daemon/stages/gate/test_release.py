"""Reward models are released, held or rejected by what people said of audit pairs."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select, update

from connectors.errors import TransientError
from daemon.adapters.basedigest import BaseOnDisk
from daemon.clock import FakeClock
from daemon.stages.gate.release import Releases
from daemon.store import ledger
from daemon.store import rewardmodels as rows
from daemon.store.alignment import LABEL
from daemon.store.store import Store
from policies.basemodel import Base
from policies.policy import PolicySpec
from policies.recipes import RewardRecipe
from policies.snapshot import Pair
from policies.training.jobs import GradeResult, RewardFiles
from tests.daemon.adapters.rewardfiles import leave_reward
from tests.daemon.stages.seeding import add_labelled, at_once
from tests.daemon.stages.train.bench import Bench
from tests.judges import LARGE, SMALL

BASE = "models/base"


class Court:
    """A trained reward model, and a child's place that grades as a test says."""

    def __init__(self, store: Store, state: Path, clock: FakeClock) -> None:
        self.store = store
        self.bench = Bench(store, state, clock)
        self.asked: list[RewardFiles] = []
        self.graded = 0
        self.lead: Callable[[Pair], float | None] = lambda _pair: 1.0
        self.name = self.train()
        self.releases = Releases(
            store=store,
            clock=clock,
            spec=PolicySpec(name="support", family="tiny", base_model=BASE),
            judges=(SMALL, LARGE),
            grade=self.grade,
            directory=self.bench.trainer.rewards_dir,
            base=BaseOnDisk(Base(BASE, None), cache=state / "cache"),
        )

    def train(self) -> str:
        self.bench.act = leave_reward
        return str(self.bench.train(recipe=RewardRecipe()).reward_model)

    def grade(self, pairs: Sequence[Pair], reward: RewardFiles) -> GradeResult:
        self.asked.append(reward)
        self.graded += len(pairs)
        return GradeResult(state="done", leads=tuple(self.lead(pair) for pair in pairs))

    def label(self, count: int, *, prefix: str = "audit") -> None:
        """Pairs whose judge prefers the longer answer, which people do in every second one."""
        names = {f"{prefix}-{number}-{'ab'[number % 2]}": number % 2 == 0 for number in range(count)}
        at_once(self.store, lambda to: add_labelled(to, names))

    def row(self) -> rows.StoredReward:
        return next(each for each in self.store.read(rows.newest) if each.name == self.name)


def as_people(pair: Pair) -> float:
    return 1.5 if pair.prompt[0].content.endswith("-a") else -1.5


@pytest.fixture
def court(store: Store, tmp_path: Path, clock: FakeClock) -> Court:
    return Court(store, tmp_path / "state", clock)


def test_too_few_labels_hold_it_and_say_how_many_are_missing(court: Court) -> None:
    """Without asking the model; nothing is decided again before there is something new."""
    court.label(20)
    assert court.releases.step() == 1
    row = court.row()
    assert (row.state, row.missing, row.labels) == ("hold", 30, 20)
    assert row.reasons == ("labels: 20 of 50, 30 are missing",)
    assert court.asked == []
    assert court.releases.step() == 0


def test_labels_release_what_does_better_than_length_and_judge(court: Court) -> None:
    """As soon as there are enough; the decision is in the ledger, and stays."""
    court.label(20)
    court.releases.step()
    court.label(60, prefix="more")
    court.lead = as_people
    assert court.releases.step() == 1
    row = court.row()
    assert (row.state, row.labels) == ("release", 80)
    assert court.store.read(rows.released) == row
    assert [reward.path.name for reward in court.asked] == [court.name]
    actions = court.store.read(lambda c: list(c.scalars(select(ledger.LEDGER.c.action))))
    assert actions[-1] == "reward model release"
    assert court.releases.step() == 0


def test_what_only_looks_at_length_is_not_released(court: Court) -> None:
    """It has the length rule's agreement and no more."""
    court.label(80)
    court.lead = lambda pair: float(len(pair.chosen[0].content or "") - len(pair.rejected[0].content or ""))
    court.releases.step()
    assert court.row().state != "release"
    assert "by length alone" in court.row().reasons[0]


def test_labels_turned_round_reject_it(court: Court) -> None:
    """A model that learned from flipped labels is worse than a rule of length, for certain."""
    court.label(80)
    court.lead = lambda pair: -as_people(pair)
    court.releases.step()
    assert court.row().state == "reject"
    assert "no better than a rule of length" in court.row().reasons[0]


def test_a_pair_that_cannot_be_graded_is_no_evidence(court: Court) -> None:
    """It is left out, and what is left decides."""
    court.label(80)
    court.lead = lambda pair: None if "-1" in (pair.prompt[0].content or "") else as_people(pair)
    court.releases.step()
    assert court.row().labels < 80


def test_pairs_that_people_did_not_decide_are_not_graded(court: Court) -> None:
    """Ties decide nothing and cost as much as others: the model is not asked about them."""
    court.label(80)
    court.store.write(lambda c: c.execute(update(LABEL).where(LABEL.c.id % 4 == 0).values(choice="tie")))
    court.lead = as_people
    court.releases.step()
    assert court.graded == 60
    assert court.row().labels == 60


def test_files_that_do_not_verify_are_rejected(court: Court) -> None:
    """With the file in the reason, and without asking the model."""
    court.label(80)
    head = court.bench.trainer.rewards_dir / court.name / "fold-1" / "head.safetensors"
    head.chmod(0o644)
    head.write_bytes(head.read_bytes()[:-1] + b"\x00")
    court.releases.step()
    assert court.row().state == "reject"
    assert "fold-1/head.safetensors" in court.row().reasons[0]
    assert court.asked == []


def test_a_child_that_failed_is_asked_again(court: Court) -> None:
    """Its failure says nothing about the model, which stays held."""
    court.label(80)
    real, court.lead = as_people, fail
    with pytest.raises(TransientError):
        court.releases.step()
    assert court.row().state == "hold"
    court.lead = real
    assert court.releases.step() == 1
    assert court.row().state == "release"


def fail(_pair: Pair) -> float:
    raise TransientError("grading by a reward model: the child died")

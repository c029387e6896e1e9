"""Soundings as files: what is asked, when a verdict comes of it, and what a run does without one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policies.policy import Guard
from policies.records import Message, Sampled
from policies.training.guarding.sounder import NO_FIGURE, Sounder
from policies.training.jobs import Progress
from policies.training.layout import PROGRESS
from policies.training.progress import Reporter
from policies.training.soundings import Heard, Sounded, sounding_at, write_heard

ANSWER = Sampled(messages=(Message(role="assistant", content="a"),))


class Run:
    """A run that is sounded every four of eight steps, whose reward rises by a point a step."""

    def __init__(self, job: Path) -> None:
        self.job = job
        self.step = 0
        self.asked = 0
        self.stopping = False
        self.reporter = Reporter(job / PROGRESS)
        self.sounder = self.sounding()

    def sounding(self) -> Sounder:
        return Sounder(
            self.job, self._answers, every=4, looks=2, guard=Guard(limit=0.0),
            reporter=self.reporter, stopping=lambda: self.stopping, patience_s=60,
        )  # fmt: skip

    def _answers(self) -> list[Sounded]:
        self.asked += 1
        return [Sounded(trace=n, answer=ANSWER, reward=self.step + n / 10) for n in range(10)]

    def to(self, step: int) -> None:
        self.step = step
        self.sounder.sound(step)

    def judge(self, step: int, score: float) -> None:
        scores = {n: score + n / 7 for n in range(10)}
        write_heard(self.job, Heard(step=step, scores=scores))

    def told(self) -> list[Progress]:
        lines = (self.job / PROGRESS).read_text(encoding="utf-8").splitlines()
        return [Progress.model_validate_json(line) for line in lines]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.reporter.close()


def test_a_verdict_comes_with_the_figures_of_the_start_and_of_the_step(run: Run) -> None:
    """In whatever order they come, and once."""
    run.to(0)
    run.to(4)
    run.judge(4, 2.0)
    assert run.sounder.heard(4) == []
    run.judge(0, 5.0)
    (found,) = run.sounder.heard(5)
    assert (found.step, found.prompts, found.diverged) == (4, 10, True)
    assert [found.reward, found.judge] == pytest.approx([4, -3])
    assert run.sounder.heard(6) == []
    assert run.sounder.verdicts(6) == (found,)


def test_what_never_came_is_said_and_nobody_waits_for_a_judge_that_never_answered(run: Run) -> None:
    """Without a figure of the start the run ends at once, with one line for each sounding."""
    run.to(0)
    run.to(4)
    run.to(8)
    assert list(run.sounder.hear_out(8)) == []
    assert [(each.step, each.unknown) for each in run.sounder.verdicts(8)] == [(4, NO_FIGURE), (8, NO_FIGURE)]


def test_at_the_end_a_run_waits_for_a_judge_that_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells of what it waits for each time, so that the daemon looks; one that is to stop waits no
    longer.
    """
    answers: list[Callable[[], None]] = [lambda: None, lambda: run.judge(8, 2.0)]
    monkeypatch.setattr("policies.training.guarding.sounder.time.sleep", lambda _: answers.pop(0)())
    run.to(0)
    run.judge(0, 5.0)
    run.to(8)
    (found,) = run.sounder.hear_out(8)
    assert (found.step, found.diverged) == (8, True)
    assert [each.step for each in run.told() if each.event == "sounded"] == [0, 8, 8, 8]
    run.stopping = True
    run.to(9)
    assert list(run.sounder.hear_out(9)) == []


def test_a_run_that_is_taken_up_asks_nothing_twice_and_goes_on_with_what_was_heard(run: Run) -> None:
    """Its answers are in its directory, and what had no figure is told of again."""
    run.to(0)
    run.to(4)
    written = sounding_at(run.job, 4)
    run.judge(0, 5.0)
    run.step, run.sounder = 6, run.sounding()
    before = len(run.told())
    run.sounder.again(6)
    run.sounder.sound(4)
    assert run.asked == 2
    assert sounding_at(run.job, 4) == written
    assert [each.step for each in run.told()[before:]] == [4, 4]
    run.judge(4, 5.5)
    (found,) = run.sounder.heard(6)
    assert not found.diverged


def test_what_the_judge_did_not_say_is_in_the_reason(run: Run) -> None:
    """Abstentions leave too few prompts."""
    run.to(0)
    run.to(4)
    run.judge(0, 5.0)
    write_heard(run.job, Heard(step=4, scores={0: 1.0}, missing={"no judgement can be read": 9}))
    (found,) = run.sounder.heard(4)
    assert found.unknown.endswith("(9 without: no judgement can be read)")

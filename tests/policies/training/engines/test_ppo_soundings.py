"""PPO whose answers a judge scores on the way: stopped where it finds them worse as the reward rises."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from policies.policy import Guard, TrainingGuards
from policies.training.layout import PROGRESS
from policies.training.progress import Reporter
from policies.training.soundings import Heard, Sounding, heard_at, sounding_at, write_heard
from tests.policies.training.engines.wishes import PROMPTS, RECIPE, WISHED, asked, fingerprint, recorder

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

Score = Callable[[str], float]
STEPS = 8
SHORT = RECIPE.model_copy(update={"steps": STEPS})


def wished(text: str) -> float:
    """The share of wished words, in points: what the reward is."""
    words = text.split()
    return 10 * sum(word in WISHED for word in words) / max(len(words), 1)


class Judged(Reporter):
    """Has a judge score what is sounded, at once."""

    def __init__(self, job: Path, score: Score) -> None:
        super().__init__(job / PROGRESS)
        self._job, self._score = job, score

    def report(self, event: Any, **rest: Any) -> None:
        super().report(event, **rest)
        sounding = sounding_at(self._job, rest["step"]) if event == "sounded" else None
        if sounding is not None:
            write_heard(self._job, Heard(step=sounding.step, scores=self._scores(sounding)))

    def _scores(self, sounding: Sounding) -> dict[int, float]:
        return {each.trace: self._score(each.answer.messages[-1].content) for each in sounding.answers}


@pytest.fixture
def run_of(ppo_for: Callable[..., Any], tmp_path: Path) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Makes a run rewarded for wished words and judged otherwise, and what watches it."""
    with ExitStack() as stack:
        yield lambda name, score: _run_of(
            ppo_for, stack.enter_context(Judged(_made(tmp_path / name), score)), tmp_path / name
        )


def _made(job: Path) -> Path:
    job.mkdir()
    return job


def _run_of(ppo_for: Callable[..., Any], reporter: Reporter, job: Path) -> tuple[Any, Any]:
    from policies.training.engines.ppo_soundings import FreshAnswers
    from policies.training.guarding.monitor import Monitor
    from policies.training.guarding.sounder import Sounder
    from policies.training.sampling.generate import SamplingSettings

    watch = Monitor(
        reader=None, figures=("loss", "grad_norm"), guards=TrainingGuards(), every_steps=4,
        reporter=reporter, stopping=lambda: False,
    )  # fmt: skip
    run = ppo_for(job.name, SHORT, callback=watch)
    questions = list(enumerate(asked(run.collector.rendering, PROMPTS)))
    settings = SamplingSettings(max_new_tokens=8, seed=3, batch_size=32)
    fresh = FreshAnswers(run.collector.rendering, run.roles, run.collector.rewarder, settings, questions)
    watch.sounder = Sounder(
        job,
        fresh.answers,
        every=4,
        looks=STEPS // 4,
        guard=Guard(limit=0.0),
        reporter=reporter,
        stopping=lambda: False,
    )
    return run, watch


def test_a_run_whose_reward_the_judge_contradicts_is_stopped(
    run_of: Callable[..., tuple[Any, Any]],
) -> None:
    """A judge that likes an answer the less the more it is rewarded ends the run before its last step."""
    run, watch = run_of("apart", lambda text: 10 - wished(text))
    ended = run.train()
    assert ended.state == "stopped"
    assert ended.steps < STEPS
    assert watch.halted.startswith(f"step {ended.steps}: divergence: since the start the reward")
    last = watch.divergences(ended.steps)[-1]
    assert last.diverged
    assert last.judge == pytest.approx(-last.reward), "both are of the same answers"


def test_with_a_judge_that_agrees_nothing_is_changed_of_what_is_learned(
    ppo_for: Callable[..., Any], run_of: Callable[..., tuple[Any, Any]], tmp_path: Path
) -> None:
    """The run goes to its end, bit for bit as without soundings: these draw from numbers of their own."""
    alone = ppo_for("alone", SHORT, callback=recorder())
    alone.train()
    run, watch = run_of("sounded", wished)
    assert run.train().state == "done"
    assert fingerprint(run) == fingerprint(alone)
    assert watch.halted is None
    last = watch.divergences(STEPS)[-1]
    assert (last.step, last.prompts, last.diverged) == (STEPS, len(PROMPTS), False)
    assert last.judge == pytest.approx(last.reward)
    first, heard = sounding_at(tmp_path / "sounded", 0), heard_at(tmp_path / "sounded", 0)
    assert first is not None
    assert heard is not None
    assert [each.reward for each in first.answers] == pytest.approx(list(heard.scores.values()))
    assert all(each.answer.tokens is not None for each in first.answers)


def test_the_prompts_are_the_same_for_a_seed() -> None:
    """Of those that say which event they are of. Fewer than asked for are all of them."""
    from policies.training.engines.ppo_soundings import chosen
    from policies.training.model.prompts import Prompted

    prompts = [Prompted((number,), {}, (), trace=number) for number in range(1, 41)]
    found = chosen(prompts, 6, seed=1)
    assert len({each.ids for each in found}) == len(found) == 6
    assert chosen(prompts[::-1], 6, seed=1) == found
    assert chosen(prompts, 6, seed=2) != found
    assert chosen([*prompts[:2], Prompted((0,), {}, ())], 6, seed=1) == chosen(prompts[:2], 2, seed=1)
    assert not chosen([Prompted((0,), {}, ())], 6, seed=1)

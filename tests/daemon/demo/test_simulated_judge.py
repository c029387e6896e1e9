"""What the simulated judges and the simulated reviewer think."""

import json
from pathlib import Path
from statistics import fmean

import pytest

from daemon.demo import reviewer, world
from daemon.demo.scores import rubric_view
from daemon.demo.simulated_judge import TEMPERS, SimulatedJudge, distribution

LESSONS = world.lessons(3, 400)


@pytest.mark.parametrize("model", TEMPERS)
def test_an_opinion_depends_on_seed_judge_prompt_and_answer_alone(model: str) -> None:
    """Asking again gives the same; another seed or another judge gives another."""
    prompt, answer = LESSONS[0]
    others = [SimulatedJudge(name, 1) for name in TEMPERS if name != model] + [SimulatedJudge(model, 2)]
    assert SimulatedJudge(model, 1).opinion(prompt, answer) == SimulatedJudge(model, 1).opinion(
        prompt, answer
    )
    views = {
        round(other.opinion(prompt, full_of(prompt)), 6) for other in [*others, SimulatedJudge(model, 1)]
    }
    assert len(views) > 1


def full_of(prompt: str) -> str:
    """A middling answer, so that no opinion is at the end of the scale."""
    case = world.understand(prompt)
    assert case is not None
    return f"Sorry about that. {world.VAGUE_REMEDIES[0]} Your {case.product} it is."


@pytest.mark.parametrize("model", TEMPERS)
def test_a_judge_follows_the_rubric_with_noise(model: str) -> None:
    """Good answers get more than rude ones, and not exactly what the rubric says."""
    judge = SimulatedJudge(model, 0)
    views = [(rubric_view(*lesson), judge.opinion(*lesson)) for lesson in LESSONS]
    assert (
        fmean(said for true, said in views if true > 7) > fmean(said for true, said in views if true < 3) + 4
    )
    assert any(abs(true - said) > 0.5 for true, said in views)
    assert all(0 <= said <= 10 for _, said in views)


def test_the_small_judge_likes_length_and_the_gate_does_not() -> None:
    """Of the same rubric view, the longer answer gets more from the one and less from the other."""
    small, gate = TEMPERS["simulated-small"], TEMPERS["simulated-gate"]
    assert small.per_10_characters > 0 > gate.per_10_characters


@pytest.mark.parametrize("model", TEMPERS)
def test_some_close_verdicts_flip_with_the_order_and_clear_ones_do_not(model: str) -> None:
    """A pull to one place decides only between answers that are nearly equal to the judge."""
    judge = SimulatedJudge(model, 0)
    flips = clear_flips = 0
    for prompt, answer in LESSONS:
        other = full_of(prompt)
        one, two = judge.verdict(prompt, (answer, other)), judge.verdict(prompt, (other, answer))
        contradictory = "tie" not in (one, two) and one == two
        flips += contradictory or (one == "tie") != (two == "tie")
        clear = abs(judge.opinion(prompt, answer) - judge.opinion(prompt, other)) > 2
        clear_flips += contradictory and clear
    assert flips > 0
    assert clear_flips == 0


def test_the_distribution_of_a_score_has_its_mean_near_the_opinion() -> None:
    """Probabilities sum to one; inside the scale the mean is the opinion."""
    for opinion in (2.0, 4.6, 7.3):
        chances = distribution(opinion)
        assert sum(chances.values()) == pytest.approx(1.0)
        assert sum(score * chance for score, chance in chances.items()) == pytest.approx(opinion, abs=0.1)


def test_the_reviewer_prefers_the_better_answer_whichever_comes_first() -> None:
    """Turning the pair turns the choice."""
    prompt, _ = LESSONS[0]
    case = world.understand(prompt)
    assert case is not None
    good = f"{world.GREETINGS[0].format(echo=case.problem.echo.format(p=case.product))} "
    good += f"{case.problem.remedy.format(p=case.product)} {world.STEPS[0]}"
    assert reviewer.choose(prompt, good, "Not our fault.", 0) == "1"
    assert reviewer.choose(prompt, "Not our fault.", good, 0) == "2"
    assert reviewer.choose(prompt, good, good, 0) == "tie"


def test_the_reviewer_answers_every_pair_and_says_that_it_is_simulated(tmp_path: Path) -> None:
    """Its file has a line for each task, with a reason that no one can take for a person's."""
    tasks = [
        {
            "pair": f"p{number}",
            "messages": [{"role": "user", "content": prompt}],
            "answer_1": answer,
            "answer_2": LESSONS[number + 1][1],
            "choice": None,
            "reason": None,
        }
        for number, (prompt, answer) in enumerate(LESSONS[:60])
    ]
    exported, labels = tmp_path / "tasks.jsonl", tmp_path / "labels.jsonl"
    exported.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    found = reviewer.review(exported, labels, seed=0)
    lines = [json.loads(line) for line in labels.read_text().splitlines()]
    assert [line["pair"] for line in lines] == [task["pair"] for task in tasks]
    assert {line["choice"] for line in lines} <= {"1", "2", "tie"}
    assert all("simulated" in line["reason"] for line in lines)
    assert found.pairs == 60
    assert found.decided == sum(line["choice"] != "tie" for line in lines) > 0

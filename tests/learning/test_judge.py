"""The simulated judges and reviewer: consistent, noisy, biased by length, and asked as real ones are."""

import asyncio
import itertools
import json
import random
from pathlib import Path
from statistics import fmean

import pytest

from connectors.base import JudgeRequest
from connectors.judges.openai import OpenAIJudge
from policies.judging import grammar, prompts
from policies.records import Message, Role
from tests.learning import judge
from tests.learning.judge import REVIEWER, REVIEWERS, TEMPERS, Judge
from tests.learning.task import Request, requests

ASKED = list(itertools.islice(requests(5), 100))
NONCE = "0123456789abcdef"


def answers(request: Request, chance: random.Random) -> list[str]:
    """Answers of every quality."""
    parts = [
        f"Order {request.order}",
        "we are sorry",
        f"the {request.item} and its delivery",
        "no idea",
        "x y",
    ]
    return [
        ", ".join(chance.sample(parts, chance.randint(1, 4))) + chance.choice((".", "")) for _ in range(4)
    ]


def judges(role: Role) -> Judge:
    return Judge(f"simulated-{role.value}", TEMPERS[role], 3)


@pytest.mark.parametrize("role", list(TEMPERS))
def test_a_judge_mostly_agrees_with_the_reviewer_and_not_always(role: Role) -> None:
    """On pairs that the reviewer decides it is right far more often than not, and wrong now and then."""
    reviewer, asked, chance = Judge(REVIEWER, REVIEWERS, 3), judges(role), random.Random(0)
    agreed = []
    for request in ASKED:
        for pair in itertools.combinations(answers(request, chance), 2):
            theirs, its = reviewer.lead(request.text, pair), asked.lead(request.text, pair)
            if theirs and its:
                agreed.append((theirs > 0) == (its > 0))
    assert 0.88 < fmean(agreed) < 0.995


@pytest.mark.parametrize(("role", "likes"), [(Role.SMALL, 1), (Role.LARGE, 1), (Role.GATE, -1)])
def test_a_judge_has_a_taste_for_length(role: Role, likes: int) -> None:
    """Of two answers with the same signs the judges that teach prefer the longer, the gate's the shorter."""
    asked = judges(role)
    short, long = "It is order {}.", f"It is {'now ' * 20}order {{}}."
    leads = [
        asked.opinion(request.text, long.format(request.order))
        - asked.opinion(request.text, short.format(request.order))
        for request in ASKED
    ]
    assert likes * fmean(leads) > 0


def test_an_opinion_is_the_same_when_asked_again() -> None:
    """Whatever the place: only the small pull towards one place is added."""
    asked, (one, other) = judges(Role.GATE), ("We are sorry.", "Order 1 is lost, thank you.")
    there = asked.lead(ASKED[0].text, (one, other))
    assert asked.lead(ASKED[0].text, (one, other)) == there
    assert asked.opinion(ASKED[0].text, one) == asked.opinion(ASKED[0].text, one)


def test_the_daemons_own_client_reads_what_they_say() -> None:
    """A score with its alternatives and a comparison, from each of the three servers."""
    request = ASKED[0]
    good, bad = f"Thank you, order {request.order}: the {request.item} is on its way.", "no"
    with judge.serving(3) as urls:
        for role, url in urls.items():
            asked = judges(role)
            assert json.loads(_ask(url, request, good))["score"] == round(asked.opinion(request.text, good))
            assert json.loads(_ask(url, request, good, bad))["verdict"] == "A"
            assert json.loads(_ask(url, request, bad, good))["verdict"] == "B"


def test_the_reviewer_answers_every_pair(tmp_path: Path) -> None:
    """What is exported is answered, the better one named wherever it stands, equals as a tie."""
    request = ASKED[0]
    good, bad = f"Thank you, order {request.order}: the {request.item} is on its way.", "no"
    messages = [message.model_dump(include={"role", "content"}) for message in request.prompt]
    shown = {"first": (good, bad), "second": (bad, good), "equal": (good, good)}
    tasks, labels = tmp_path / "tasks.jsonl", tmp_path / "labels.jsonl"
    tasks.write_text("".join(
        json.dumps({"pair": name, "messages": messages, "answer_1": one, "answer_2": other}) + "\n"
        for name, (one, other) in shown.items()
    ))  # fmt: skip
    found = judge.review(tasks, labels, 3)
    said = {line["pair"]: line for line in map(json.loads, labels.read_text().splitlines())}
    assert {name: line["choice"] for name, line in said.items()} == {
        "first": "1",
        "second": "2",
        "equal": "tie",
    }
    assert all("simulated" in line["reason"] for line in said.values())
    assert (found.pairs, found.decided) == (3, 2)


def _ask(url: str, request: Request, *shown: str) -> str:
    turns = tuple(prompts.Turn(message.role, message.content) for message in request.prompt)
    case = prompts.Case(turns, shown)
    text = prompts.render(case, nonce=NONCE, dimensions=("helpful",))
    schema = grammar.schema(case.kind, ("helpful",))
    said = (Message(role="user", content=text),)
    asked = JudgeRequest("You judge.", said, 300, logprobs=case.kind == "score", schema=schema)

    async def go() -> str:
        client = OpenAIJudge(name="any", family="f", model="simulated", api_key=None, base_url=url)
        try:
            return (await client.ask(asked)).text
        finally:
            await client.close()

    return asyncio.run(go())

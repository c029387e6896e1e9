"""The contract of Sampler, on the fake and over HTTP."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from connectors.base import Sampler
from connectors.errors import FatalError, PoisonError
from connectors.memory import MemorySampler
from connectors.samplers.openai import EndpointSampler
from policies.records import Message, Sampled
from tests.connectors.samplers.chat import ChatEndpoint, Reply

PROMPTS = [(Message(role="user", content=f"question {number}"),) for number in range(7)]


LONG = "too long by 7 tokens"


@dataclass
class Policy:
    """What answers behind the sampler: an echo that refuses some prompts, or everything."""

    refuses_all: bool = False

    def in_memory(self, prompt: tuple[Message, ...], number: int) -> str | Sampled:
        content = prompt[-1].content
        if self.refuses_all or content == "refused":
            raise PoisonError(LONG)
        if content == "cut":
            return Sampled(messages=(Message(role="assistant", content="I would"),), truncated=True)
        return f"answer to {content}"

    def over_http(self, number: int, request: dict[str, Any]) -> Reply:
        content = request["messages"][-1]["content"]
        if self.refuses_all or content == "refused":
            return Reply(status=400, body=json.dumps({"error": {"message": LONG}}).encode())
        if content == "cut":
            return Reply("I would", finish="length")
        return Reply(f"answer to {content}")


@pytest.fixture
def policy() -> Policy:
    return Policy()


@pytest.fixture(params=["memory", "endpoint"])
def sampler(request: pytest.FixtureRequest, policy: Policy) -> Iterator[Sampler]:
    """The sampler under test."""
    if request.param == "memory":
        yield MemorySampler(policy.in_memory)
        return
    with ChatEndpoint(policy.over_http) as endpoint:
        yield EndpointSampler(base_url=endpoint.url, model="agent", backoff_s=0.01)


def test_answers_come_in_prompt_order_as_many_as_asked(sampler: Sampler) -> None:
    """Each prompt's answers stand at its place, all from the assistant."""
    rows = asyncio.run(sampler.sample(PROMPTS, 3)).answers
    assert [[sampled.messages[0].content for sampled in row] for row in rows] == [
        [f"answer to question {number}"] * 3 for number in range(7)
    ]
    assert {sampled.messages[-1].role for row in rows for sampled in row} == {"assistant"}


def test_nothing_asked_is_nothing_answered(sampler: Sampler) -> None:
    """No prompts and no count give empty rows."""
    assert asyncio.run(sampler.sample([], 2)).answers == []
    assert asyncio.run(sampler.sample(PROMPTS[:1], 0)).answers == [[]]


def test_a_cut_off_answer_is_truncated(sampler: Sampler) -> None:
    """It is an answer, and not a whole one."""
    (row, other) = asyncio.run(
        sampler.sample([(Message(role="user", content="cut"),), PROMPTS[0]], 1)
    ).answers
    assert [(each.truncated, each.messages[0].content) for each in (*row, *other)] == [
        (True, "I would"),
        (False, "answer to question 0"),
    ]


REFUSED = (Message(role="user", content="refused"),)


def test_a_refused_prompt_has_no_answers_and_costs_the_others_nothing(sampler: Sampler) -> None:
    """Logs are anybody's: one prompt that is too long or out of turn must not stop the sampling."""
    found = asyncio.run(sampler.sample([*PROMPTS, REFUSED], 2))
    assert [len(row) for row in found.answers] == [*[2] * 7, 0]
    assert found.refused.keys() == {7}
    assert LONG in found.refused[7]
    assert "\n" not in found.refused[7]


@pytest.mark.parametrize("prompts", [1, 3])
def test_refused_prompts_are_at_fault_where_a_plain_question_is_answered(
    sampler: Sampler, prompts: int
) -> None:
    """However many there are, and nothing else among them."""
    found = asyncio.run(sampler.sample([REFUSED] * prompts, 2))
    assert (found.answers, len(found.refused)) == ([[]] * prompts, prompts)


@pytest.mark.parametrize("prompts", [1, 3])
def test_a_policy_that_refuses_everything_raises(sampler: Sampler, policy: Policy, prompts: int) -> None:
    """Then it is not the prompts: a person has to look, and no prompt is lost."""
    policy.refuses_all = True
    with pytest.raises(FatalError, match=LONG):
        asyncio.run(sampler.sample(PROMPTS[:prompts], 1))

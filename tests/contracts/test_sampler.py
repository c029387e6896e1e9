"""The contract of Sampler, on the fake and over HTTP."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.base import Sampler
from connectors.errors import FatalError, PoisonError
from connectors.memory import MemorySampler
from connectors.serving.endpoint import EndpointSampler
from policies.records import Message
from tests.connectors.serving.chat import ChatEndpoint, Reply

PROMPTS = [(Message(role="user", content=f"question {number}"),) for number in range(7)]


def echo(prompt: tuple[Message, ...], number: int) -> str:
    if prompt[-1].content == "refused":
        raise PoisonError("refused")
    return f"answer to {prompt[-1].content}"


def echo_over_http(number: int, request: dict[str, Any]) -> Reply:
    content = request["messages"][-1]["content"]
    return Reply(status=400) if content == "refused" else Reply(f"answer to {content}")


@pytest.fixture(params=["memory", "endpoint"])
def sampler(request: pytest.FixtureRequest) -> Iterator[Sampler]:
    """The sampler under test."""
    if request.param == "memory":
        yield MemorySampler(echo)
        return
    with ChatEndpoint(echo_over_http) as endpoint:
        yield EndpointSampler(base_url=endpoint.url, model="agent", backoff_s=0.01)


def test_answers_come_in_prompt_order_as_many_as_asked(sampler: Sampler) -> None:
    """Each prompt's answers stand at its place, all from the assistant."""
    rows = asyncio.run(sampler.sample(PROMPTS, 3))
    assert [[sampled.messages[0].content for sampled in row] for row in rows] == [
        [f"answer to question {number}"] * 3 for number in range(7)
    ]
    assert {sampled.messages[-1].role for row in rows for sampled in row} == {"assistant"}


def test_nothing_asked_is_nothing_answered(sampler: Sampler) -> None:
    """No prompts and no count give empty rows."""
    assert asyncio.run(sampler.sample([], 2)) == []
    assert asyncio.run(sampler.sample(PROMPTS[:1], 0)) == [[]]


REFUSED = (Message(role="user", content="refused"),)


def test_a_refused_prompt_has_no_answers_and_costs_the_others_nothing(sampler: Sampler) -> None:
    """Logs are anybody's: one prompt that is too long or out of turn must not stop the sampling."""
    rows = asyncio.run(sampler.sample([REFUSED, *PROMPTS], 2))
    assert [len(row) for row in rows] == [0, *[2] * 7]
    assert asyncio.run(sampler.sample([REFUSED], 2)) == [[]]


def test_a_refusal_of_all_of_several_raises(sampler: Sampler) -> None:
    """Then it is not the prompts: a person has to look."""
    with pytest.raises(FatalError):
        asyncio.run(sampler.sample([REFUSED, REFUSED], 1))

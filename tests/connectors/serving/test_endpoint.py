"""The sampler over an endpoint: retries, refusals, tools, and never a made-up answer."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from connectors.errors import FatalError, TransientError
from connectors.serving.endpoint import EndpointSampler
from policies.records import Message, Sampled, ToolCall
from tests.connectors.serving.chat import ChatEndpoint, Reply

PROMPT = (Message(role="user", content="hello"),)


def run(
    reply: Callable[[int, dict[str, Any]], Reply], *, prompts: int = 1, count: int = 1, **options: Any
) -> tuple[list[list[Sampled]], ChatEndpoint]:
    with ChatEndpoint(reply) as endpoint:
        settings: dict[str, Any] = {"base_url": endpoint.url, "model": "agent", "backoff_s": 0.01} | options
        sampler = EndpointSampler(**settings)
        return asyncio.run(sampler.sample([PROMPT] * prompts, count)), endpoint


def test_the_request_is_what_the_policy_says() -> None:
    """Model, temperature, length, key and tool turns go out in OpenAI's shape."""
    prompt = (
        Message(role="user", content="where?"),
        Message(role="assistant", tool_calls=(ToolCall(name="find", arguments={"id": 7}, id="c1"),)),
        Message(role="tool", content="there", tool_call_id="c1"),
    )
    with ChatEndpoint(lambda *_: Reply("ok")) as endpoint:
        sampler = EndpointSampler(
            base_url=endpoint.url, model="agent", api_key="sk-1", temperature=0.5, max_new_tokens=9
        )
        asyncio.run(sampler.sample([prompt], 1))
    (seen,) = endpoint.seen
    assert (seen["model"], seen["temperature"], seen["max_tokens"]) == ("agent", 0.5, 9)
    assert seen["messages"][1]["tool_calls"][0]["function"] == {"name": "find", "arguments": '{"id": 7}'}
    assert seen["messages"][2]["tool_call_id"] == "c1"
    assert endpoint.keys == ["Bearer sk-1"]


def test_a_tool_call_is_an_answer() -> None:
    """Arguments are decoded to an object."""
    call = {"id": "c9", "type": "function", "function": {"name": "refund", "arguments": '{"order": 5}'}}
    answers, _ = run(lambda *_: Reply(None, tool_calls=[call]))
    assert answers[0][0].messages[0].tool_calls == (ToolCall(name="refund", arguments={"order": 5}, id="c9"),)


@pytest.mark.parametrize(
    "bad",
    [
        Reply(status=500),
        Reply(status=529),
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(body=b"<html>"),
        Reply(body=b"[]"),
        Reply(body=b'{"choices": []}'),
        Reply("late", delay_s=4.0),
    ],
    ids=["500", "529", "429", "html", "list", "no-choice", "late"],
)
def test_a_passing_failure_is_tried_again(bad: Reply) -> None:
    """The first answer fails and the second is taken; when all fail the error says the last reason."""
    deadline_s = 2.0 if bad.delay_s else 60.0  # an answer on a slow machine is not a late one
    answers, endpoint = run(lambda number, _: bad if number == 0 else Reply("fine"), deadline_s=deadline_s)
    assert answers[0][0].messages[0].content == "fine"
    assert len(endpoint.seen) == 2
    with pytest.raises(TransientError):
        run(lambda *_: bad, deadline_s=deadline_s, attempts=2)


@pytest.mark.parametrize(("status", "words"), [(401, "credentials"), (404, "HTTP 404")])
def test_a_refusal_is_fatal_and_not_tried_again(status: int, words: str) -> None:
    """A wrong key or model is for a person; the key is not in the message."""
    refused = Reply(status=status, body=json.dumps({"error": {"message": "bad key sk-1"}}).encode())
    seen: list[int] = []

    def reply(number: int, _request: dict[str, Any]) -> Reply:
        seen.append(number)
        return refused

    with pytest.raises(FatalError, match=words) as caught:
        run(reply, api_key="sk-1")
    assert len(seen) == 1
    assert status != 401 or "sk-1" not in str(caught.value)


def test_no_server_is_transient() -> None:
    """A refused connection is an outage, not a mistake."""
    with ChatEndpoint(lambda *_: Reply("x")) as endpoint:
        url = endpoint.url
    sampler = EndpointSampler(base_url=url, model="agent", attempts=2, backoff_s=0.01)
    with pytest.raises(TransientError):
        asyncio.run(sampler.sample([PROMPT], 1))


def test_calls_are_bounded_and_the_sampler_survives_its_event_loop() -> None:
    """No more calls at once than allowed; a second event loop samples as the first did."""
    import threading

    running, most, lock = 0, 0, threading.Lock()

    def reply(_number: int, _request: dict[str, Any]) -> Reply:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.02)
        with lock:
            running -= 1
        return Reply("ok")

    with ChatEndpoint(reply) as endpoint:
        sampler = EndpointSampler(base_url=endpoint.url, model="agent", concurrency=3)
        for _ in range(2):
            answers = asyncio.run(sampler.sample([PROMPT] * 5, 2))
            assert [len(row) for row in answers] == [2] * 5
    assert 2 <= most <= 3

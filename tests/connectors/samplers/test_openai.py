"""The sampler over an endpoint: retries, refusals, tools, and never a made-up answer."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from connectors.base import Samples
from connectors.decoders.chat import UNPARSED
from connectors.errors import FatalError, TransientError
from connectors.samplers.openai import EndpointSampler
from policies.records import Message, Sampled, ToolCall
from tests.connectors.samplers.chat import ChatEndpoint, Reply

PROMPT = (Message(role="user", content="hello"),)


def run(
    reply: Callable[[int, dict[str, Any]], Reply], *, prompts: int = 1, count: int = 1, **options: Any
) -> tuple[Samples, ChatEndpoint]:
    with ChatEndpoint(reply) as endpoint:
        settings: dict[str, Any] = {"base_url": endpoint.url, "model": "agent", "backoff_s": 0.01} | options
        sampler = EndpointSampler(**settings)
        return asyncio.run(sampler.sample([PROMPT] * prompts, count)), endpoint


def one(reply: Callable[[int, dict[str, Any]], Reply], **options: Any) -> Sampled:
    """The only answer to the only prompt."""
    found, _ = run(reply, **options)
    ((answer,),) = found.answers
    return answer


def sent(
    prompt: tuple[Message, ...], tools: tuple[dict[str, Any], ...] = (), **options: Any
) -> dict[str, Any]:
    """The request that goes out for a prompt."""
    with ChatEndpoint(lambda *_: Reply("ok")) as endpoint:
        sampler = EndpointSampler(base_url=endpoint.url, model="agent", api_key="sk-1", **options)
        asyncio.run(sampler.sample([prompt], 1, tools=[tools]))
    (seen,) = endpoint.seen
    assert endpoint.keys == ["Bearer sk-1"]
    return seen


def test_the_request_is_what_the_policy_says() -> None:
    """Model, temperature, length, key and tool turns go out in OpenAI's shape."""
    prompt = (
        Message(role="user", content="where?", name="ann"),
        Message(role="assistant", tool_calls=(ToolCall(name="find", arguments={"id": 7}, id="c1"),)),
        Message(role="tool", content="there", tool_call_id="c1", name="find"),
    )
    seen = sent(prompt, temperature=0.5, max_new_tokens=9)
    assert (seen["model"], seen["temperature"], seen["max_tokens"]) == ("agent", 0.5, 9)
    assert "tools" not in seen
    assert seen["messages"] == [
        {"role": "user", "content": "where?", "name": "ann"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id": 7}'}}
            ],
        },
        {"role": "tool", "content": "there", "tool_call_id": "c1", "name": "find"},
    ]


def test_what_older_rows_lack_is_made_up_for() -> None:
    """Flat tools are wrapped, calls and results get ids, arguments that were no JSON go out as they were."""
    prompt = (
        Message(role="user", content="where?"),
        Message(role="assistant", tool_calls=(ToolCall(name="find", arguments={UNPARSED: "{id: 7"}),)),
        Message(role="tool", content="there"),
    )
    seen = sent(prompt, ({"name": "find", "parameters": {"type": "object"}},))
    function = {"name": "find", "parameters": {"type": "object"}}
    assert seen["tools"] == [{"type": "function", "function": function}]
    (call,) = seen["messages"][1]["tool_calls"]
    assert call == {"id": "call_0", "type": "function", "function": {"name": "find", "arguments": "{id: 7"}}
    assert seen["messages"][2] == {
        "role": "tool",
        "content": "there",
        "tool_call_id": "call_0",
        "name": "find",
    }


def test_earlier_thoughts_stay_here() -> None:
    """Servers call them differently, and some refuse them."""
    prompt = (*PROMPT, Message(role="assistant", content="hi", reasoning="SECRET"), *PROMPT)
    assert "SECRET" not in json.dumps(sent(prompt))


CALL = {"id": "c9", "type": "function", "function": {"name": "refund", "arguments": '{"order": 5}'}}


def test_a_tool_call_is_an_answer() -> None:
    """Arguments are decoded to an object; those that are none are kept, as the agent's own mistake."""
    answer = one(lambda *_: Reply(None, tool_calls=[CALL], finish="tool_calls"))
    assert answer.messages[0].tool_calls == (ToolCall(name="refund", arguments={"order": 5}, id="c9"),)
    assert not answer.truncated
    broken = {**CALL, "function": {"name": "refund", "arguments": '{"order": '}}
    answer = one(lambda *_: Reply(None, tool_calls=[broken], finish="length"))
    assert answer.messages[0].tool_calls[0].arguments == {UNPARSED: '{"order": '}
    assert answer.truncated


@pytest.mark.parametrize(
    ("reply", "reasoning", "content", "truncated"),
    [
        (Reply("Yes.", more={"reasoning_content": "Hm."}, finish="stop"), "Hm.", "Yes.", False),
        (Reply("Yes.", more={"reasoning": "Hm."}, finish="stop"), "Hm.", "Yes.", False),
        (Reply("<think>Hm.</think>\nYes.", finish="stop"), "Hm.", "Yes.", False),
        (Reply("Hm.</think>Yes.", finish="stop"), "Hm.", "Yes.", False),
        (Reply("Yes, and", finish="length"), "", "Yes, and", True),
        (Reply("Yes, and", finish="max_tokens"), "", "Yes, and", True),
        (Reply("<think>Hm", finish="length"), "Hm", "", True),
        (Reply(None, more={"reasoning_content": "Hm"}, finish="length"), "Hm", "", True),
        (Reply(None, more={"reasoning_content": "Hm."}, finish="stop"), "Hm.", "", True),
        (Reply("", finish="length"), "", "", True),
    ],
)
def test_a_thought_and_a_cut_are_facts_of_the_answer(
    reply: Reply, reasoning: str, content: str, *, truncated: bool
) -> None:
    """A thought is no part of the text, and an answer that did not come to its end is not whole."""
    answer = one(lambda *_: reply)
    (message,) = answer.messages
    assert (message.reasoning, message.content, answer.truncated) == (reasoning, content, truncated)


@pytest.mark.parametrize("finish", ["stop", "tool_calls", None])
def test_an_empty_answer_is_drawn_again(finish: str | None) -> None:
    """Nothing said is no answer; another draw may say something."""
    found, endpoint = run(
        lambda number, _: Reply(None, finish=finish) if number == 0 else Reply("fine"), attempts=2
    )
    assert found.answers[0][0].messages[0].content == "fine"
    assert len(endpoint.seen) == 2


def test_a_prompt_that_is_only_met_with_silence_is_refused() -> None:
    """After as many draws as there are attempts; nothing is made up, and the others are answered."""

    def reply(_number: int, request: dict[str, Any]) -> Reply:
        return Reply("fine" if request["messages"][0]["content"] != "?" else "", finish="stop")

    with ChatEndpoint(reply) as endpoint:
        sampler = EndpointSampler(base_url=endpoint.url, model="agent", attempts=2)
        found = asyncio.run(sampler.sample([(Message(role="user", content="?"),), PROMPT], 1))
    assert [len(row) for row in found.answers] == [0, 1]
    assert "the answer is empty (finish_reason stop)" in found.refused[0]
    assert len(endpoint.seen) == 3


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply("You", finish="content_filter"), "withheld"),
        (Reply("x", more={"role": "user"}), "its role is user"),
        (Reply(None, tool_calls=[{"id": "c"}]), "a call without a name"),
        (Reply("Here:", more={"images": [{"type": "image_url"}]}), "a part that is no text"),
        (Reply(None, more={"audio": {"id": "a", "data": "AAAA"}}), "a part that is no text"),
    ],
)
def test_an_answer_that_is_none_refuses_its_prompt(reply: Reply, words: str) -> None:
    """Asked again the server would say the same."""
    found, endpoint = run(lambda number, _: reply if number == 0 else Reply("fine"))
    assert (found.answers, len(endpoint.seen)) == ([[]], 2)
    assert words in found.refused[0]


def test_a_server_without_tools_is_found_out_and_loses_no_prompt() -> None:
    """It refuses every prompt that has tools, and a plain question with them as well."""

    def reply(_number: int, request: dict[str, Any]) -> Reply:
        body = b'{"error": {"message": "tool choice requires a tool parser"}}'
        return Reply(status=400, body=body) if "tools" in request else Reply("fine")

    tool = {"type": "function", "function": {"name": "find"}}
    with ChatEndpoint(reply) as endpoint:
        sampler = EndpointSampler(base_url=endpoint.url, model="agent")
        with pytest.raises(FatalError, match="requires a tool parser"):
            asyncio.run(sampler.sample([PROMPT, PROMPT], 1, tools=[(tool,), (tool,)]))
        found = asyncio.run(sampler.sample([PROMPT, PROMPT], 1, tools=[(tool,), ()]))
    assert [len(row) for row in found.answers] == [0, 1]


@pytest.mark.parametrize(
    "bad",
    [
        Reply(status=500),
        Reply(status=529),
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(body=b"<html>"),
        Reply(body=b"[]"),
        Reply(body=b'{"choices": []}'),
        Reply("half", finish="error"),
        Reply("late", delay_s=4.0),
    ],
    ids=["500", "529", "429", "html", "list", "no-choice", "broken-off", "late"],
)
def test_a_passing_failure_is_tried_again(bad: Reply) -> None:
    """The first answer fails and the second is taken; when all fail the error says the last reason."""
    deadline_s = 2.0 if bad.delay_s else 60.0  # an answer on a slow machine is not a late one
    found, endpoint = run(lambda number, _: bad if number == 0 else Reply("fine"), deadline_s=deadline_s)
    assert found.answers[0][0].messages[0].content == "fine"
    assert len(endpoint.seen) == 2
    with pytest.raises(TransientError):
        run(lambda *_: bad, deadline_s=deadline_s, attempts=2)


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (401, "bad key sk-1", "bad key .*: check policy.sampling.api_key_file"),
        (403, "No access from here", "No access from here: check policy.sampling.api_key_file"),
        (404, "bad key sk-1", "HTTP 404"),
        (400, "Your credit balance is too low", "too low: see to the account"),
        (429, "Insufficient balance", "Insufficient balance: see to the account"),
    ],
)
def test_a_refusal_is_fatal_and_not_tried_again(status: int, message: str, words: str) -> None:
    """A wrong key or model and an empty account are for a person; the key is not in the server's words."""
    refused = Reply(status=status, body=json.dumps({"error": {"message": message}}).encode())
    seen: list[int] = []

    def reply(number: int, _request: dict[str, Any]) -> Reply:
        seen.append(number)
        return refused

    with pytest.raises(FatalError, match=words) as caught:
        run(reply, api_key="sk-1")
    assert len(seen) == 1
    assert "sk-1" not in str(caught.value)


def test_an_error_in_a_success_is_told_in_its_words() -> None:
    """A gateway's outage is no answer, and asked again."""
    outage = Reply(body=json.dumps({"error": {"message": "Upstream is overloaded", "code": 502}}).encode())
    with pytest.raises(TransientError, match="Upstream is overloaded"):
        run(lambda *_: outage, attempts=2)


def test_no_server_is_transient() -> None:
    """A refused connection is an outage, not a mistake."""
    with ChatEndpoint(lambda *_: Reply("x")) as endpoint:
        url = endpoint.url
    sampler = EndpointSampler(base_url=url, model="agent", attempts=2, backoff_s=0.01)
    with pytest.raises(TransientError, match=f"^{url}: ") as caught:
        asyncio.run(sampler.sample([PROMPT], 1))
    assert "no answer in" not in str(caught.value)


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
            answers = asyncio.run(sampler.sample([PROMPT] * 5, 2)).answers
            assert [len(row) for row in answers] == [2] * 5
    assert 2 <= most <= 3

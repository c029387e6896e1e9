"""Anthropic's answers: read piece by piece, refused and learnt from as OpenAI's are."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from connectors.base import JudgeReply, JudgeRequest
from connectors.errors import (
    ConnectorError,
    FatalError,
    LearntError,
    PoisonError,
    RateLimitedError,
    TransientError,
    UnreadableError,
)
from connectors.judges.anthropic import AnthropicJudge
from policies.records import Message
from tests.servers.provider import VERDICT, Provider, Reply

REQUEST = JudgeRequest(
    system="You judge.", messages=(Message(role="user", content="x" * 300),), max_tokens=64, schema={}
)
TEXT = {"type": "text", "text": VERDICT}
USAGE = {"input_tokens": 900, "output_tokens": 60}


def asked(*replies: Reply) -> tuple[list[JudgeReply | ConnectorError], list[Mapping[str, Any]]]:
    """What comes of asking once for each reply, and the requests."""
    left = list(replies)

    async def ask(url: str) -> list[JudgeReply | ConnectorError]:
        judge = AnthropicJudge(name="small", family="f", model="m", api_key="k", base_url=url)
        found: list[JudgeReply | ConnectorError] = []
        for _ in replies:
            try:
                found.append(await judge.ask(REQUEST))
            except ConnectorError as error:
                found.append(error)
        await judge.close()
        return found

    with Provider(lambda request: left.pop(0)) as provider:
        return asyncio.run(ask(provider.url)), provider.seen


def message(**changes: Any) -> Reply:
    return 200, {"type": "message", "content": [TEXT], "stop_reason": "end_turn", "usage": USAGE, **changes}


@pytest.mark.parametrize(
    ("reply", "written"),
    [
        (message(), 60),
        (message(content=[{"type": "thinking", "thinking": "hm"}, TEXT]), 60),
        (message(content=VERDICT), 60),
        (message(usage=None), len(VERDICT) // 3 + 1),
        (message(usage={"input_tokens": 900, "output_tokens": None}), len(VERDICT) // 3 + 1),
        (message(usage=None, stop_reason="max_tokens"), 64),
    ],
)
def test_each_piece_is_read_by_itself(reply: Reply, written: int) -> None:
    """Thoughts are no part of the answer; tokens that are not stated are estimated."""
    (found,), _ = asked(reply)
    assert isinstance(found, JudgeReply)
    assert found.text == VERDICT
    assert found.usage.output_tokens == written
    assert found.usage.input_tokens >= 100


@pytest.mark.parametrize(
    ("reply", "error", "billed"),
    [
        ((200, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
         RateLimitedError, None),
        ((200, {"type": "error", "error": {"type": "api_error", "message": "Broken"}}), TransientError, None),
        ((400, {"type": "error", "error": {"message": "Your credit balance is too low"}}), FatalError, None),
        (message(content=None), UnreadableError, 60),
        (message(stop_reason="refusal"), PoisonError, 60),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_told_apart(reply: Reply, error: type[Exception], billed: int | None) -> None:
    """With what was served and billed all the same."""
    (found,), _ = asked(reply)
    assert type(found) is error
    assert isinstance(found, ConnectorError)
    assert found.received is not None
    assert found.received.output_tokens == billed
    assert found.received.served == (billed is not None)


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ("`temperature` is deprecated for this model.", "temperature"),
        ("output_config: Extra inputs are not permitted", "output_config"),
    ],
)
def test_what_is_refused_is_left_out_from_then_on(words: str, gone: str) -> None:
    """Learnt once; the same refusal again is for a person, with the key to change."""
    refused = (400, {"type": "error", "error": {"type": "invalid_request_error", "message": words}})
    found, requests = asked(refused, message(), refused)
    assert isinstance(found[0], LearntError)
    assert isinstance(found[1], JudgeReply)
    assert [gone in request for request in requests] == [True, False, False]
    assert isinstance(found[2], FatalError)
    assert "set judges.small." in str(found[2])

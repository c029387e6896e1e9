"""The simulated judges behind the OpenAI protocol, asked by the real judge client."""

import asyncio
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.base import JudgeReply, JudgeRequest
from connectors.errors import ConnectorError
from connectors.judges.openai import OpenAIJudge
from daemon.demo.judge_server import FINGERPRINT, PATH, RefusedRequestError, complete
from daemon.demo.simulated_judge import TEMPERS
from policies.judging import grammar, prompts, verdicts
from policies.judging.grammar import PairReply, ScoreReply
from policies.records import Message

NONCE = "0123456789abcdef"
DIMENSIONS = ("helpful", "correct")
PROMPT = "Hi, my kettle arrived broken. What now?"
GOOD = "I am sorry that your kettle arrived broken. We will send you a new kettle today."
RUDE = "Not our fault. Read the terms."


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A running server; it ends when its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "daemon.demo.judge_server", "--seed", "5"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        said = json.loads(process.stdout.readline())
        yield said["port"]
        process.stdin.close()
        assert process.wait(60) == 0
        assert "SIMULATION" in process.stderr.read()


def request_of(*answers: str) -> JudgeRequest:
    case = prompts.Case((prompts.Turn("system", "Be kind."), prompts.Turn("user", PROMPT)), answers)
    text = prompts.render(case, nonce=NONCE, dimensions=DIMENSIONS)
    schema = grammar.schema(case.kind, DIMENSIONS)
    return JudgeRequest(
        "You judge.", (Message(role="user", content=text),), 300, logprobs=True, schema=schema
    )


def ask(port: int, model: str, *answers: str) -> JudgeReply:
    async def go() -> JudgeReply:
        judge = OpenAIJudge(
            name="small", family="f", model=model, api_key=None, base_url=f"http://127.0.0.1:{port}/v1"
        )
        try:
            return await judge.ask(request_of(*answers))
        finally:
            await judge.close()

    return asyncio.run(go())


@pytest.mark.parametrize("model", TEMPERS)
def test_a_score_is_an_expected_value_from_one_call(port: int, model: str) -> None:
    """The reply parses, its score token carries a distribution, and the good answer gets more."""
    means = {}
    for answer in (GOOD, RUDE):
        reply = ask(port, model, answer)
        found = grammar.parse_score(reply.text, nonce=NONCE, dimensions=DIMENSIONS)
        assert isinstance(found, ScoreReply)
        spread = verdicts.expected_score(reply.tokens, score=found.score, nonce=NONCE)
        assert spread is not None
        assert "".join(token.token for token in reply.tokens) == reply.text
        means[answer] = spread.mean
    assert means[GOOD] > means[RUDE] + 3


def test_a_comparison_parses_and_prefers_the_good_answer_in_both_orders(port: int) -> None:
    """The verdict is in the order shown."""
    for answers, wanted in (((GOOD, RUDE), "A"), ((RUDE, GOOD), "B")):
        reply = ask(port, "simulated-gate", *answers)
        found = grammar.parse_pair(reply.text, nonce=NONCE, dimensions=DIMENSIONS)
        assert isinstance(found, PairReply)
        assert found.verdict == wanted


def test_every_response_says_that_it_is_a_simulation(port: int) -> None:
    """In the field where a provider names its backend."""
    assert ask(port, "simulated-small", GOOD).response["system_fingerprint"] == FINGERPRINT


def test_an_unknown_model_is_refused_as_a_provider_would(port: int) -> None:
    """The client's own error type comes out."""
    with pytest.raises(ConnectorError, match="simulation plays"):
        ask(port, "gpt-of-somebody-else", GOOD)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/v1/models", b"{}", 404), (PATH, b"not json", 400), (PATH, b"[]", 400)],
)
def test_what_is_no_completion_request_is_refused(port: int, path: str, body: bytes, status: int) -> None:
    """With the status that says whose fault it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body)
        response = connection.getresponse()
        assert response.status == status
        assert json.load(response)["error"]["message"]
    finally:
        connection.close()


def test_a_request_without_a_case_is_refused() -> None:
    """Nothing is made up where there is nothing to judge."""
    bodies: tuple[dict[str, Any], ...] = (
        {"model": "simulated-small"},
        {"model": "simulated-small", "messages": [{"role": "user", "content": "Hello?"}]},
        {"model": "simulated-small", "messages": [{"role": "user", "content": None}]},
    )
    for body in bodies:
        with pytest.raises(RefusedRequestError, match="no case"):
            complete(body, 0)

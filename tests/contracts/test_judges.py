"""The contract of Judge, on the fake and on both real SDKs against a server on loopback."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from connectors.base import Judge, JudgeReply, JudgeRequest
from connectors.errors import (
    ConnectorError,
    DoubtfulError,
    FatalError,
    PoisonError,
    RateLimitedError,
    TransientError,
)
from connectors.judges.anthropic import AnthropicJudge
from connectors.judges.openai import OpenAIJudge
from connectors.memory import MemoryJudge
from policies.judging import grammar
from policies.judging.grammar import ScoreReply, parse_score
from policies.judging.prompts import Case, Turn, cases_in, render
from policies.records import Message
from tests.servers.judge import Behaviour, JudgeServer

T = TypeVar("T")
NONCE = "0123456789abcdef"
DIMENSIONS = ("helpful",)
SHORT_S = 0.4
PATIENT_S = 60.0
WAITING = {"hang", "hang_after_headers", "drip"}
KEY = "sk-canary-0123456789"
Make = Callable[[], Judge]


def request(**changes: object) -> JudgeRequest:
    text = render(Case((Turn("user", "hi"),), ("hello",)), nonce=NONCE, dimensions=DIMENSIONS)
    base: dict[str, object] = {
        "system": "You judge.",
        "messages": (Message(role="user", content=text),),
        "max_tokens": 100,
        "schema": grammar.schema("score", DIMENSIONS),
    }
    return JudgeRequest(**{**base, **changes})  # type: ignore[arg-type]


def good(asked: JudgeRequest) -> str:
    case = cases_in(asked.messages[0].content)
    return f'{{"critique": "fine", "scores": {{"helpful": 5}}, "score": {len(case.answers[0])}}}'


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as running:
        yield running


def real(kind: str, server: JudgeServer, *, deadline_s: float = PATIENT_S) -> Judge:
    if kind == "openai":
        return OpenAIJudge(
            name="small",
            family="f",
            model="m",
            api_key=KEY,
            base_url=server.openai_url,
            deadline_s=deadline_s,
        )
    return AnthropicJudge(
        name="small", family="f", model="m", api_key=KEY, base_url=server.url, deadline_s=deadline_s
    )


@pytest.fixture(params=["memory", "openai", "anthropic"])
def make(request: pytest.FixtureRequest, server: JudgeServer) -> Make:
    """Makes a judge that answers well."""
    if request.param == "memory":
        return lambda: MemoryJudge(good, name="small", family="f", model="m")
    return lambda: real(request.param, server)


@pytest.fixture(params=["openai", "anthropic"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def use(judge: Judge, work: Callable[[Judge], Awaitable[T]]) -> T:
    """Runs work on the judge and closes it, in one loop."""

    async def run() -> T:
        try:
            return await work(judge)
        finally:
            await judge.close()

    return asyncio.run(run())


def test_a_judge_says_who_it_is(make: Make) -> None:
    """Name, family and model are what it was made with."""
    judge = make()
    assert (judge.name, judge.family, judge.model) == ("small", "f", "m")
    asyncio.run(judge.close())


def test_a_reply_carries_text_model_usage_and_both_bodies(make: Make) -> None:
    """What is parsed, counted and stored."""
    reply = use(make(), lambda judge: judge.ask(request()))
    parsed = parse_score(reply.text, nonce=NONCE, dimensions=DIMENSIONS)
    assert isinstance(parsed, ScoreReply)
    assert parsed.score == 5
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0
    assert reply.model
    assert NONCE in str(reply.request)
    assert reply.response
    assert KEY not in f"{reply.request}{reply.response}"


def test_many_calls_run_at_once(make: Make) -> None:
    """Calls do not wait for each other."""

    async def many(judge: Judge) -> list[JudgeReply]:
        return list(await asyncio.gather(*(judge.ask(request(sample=each)) for each in range(20))))

    assert len(use(make(), many)) == 20


def refused(kind: str, server: JudgeServer, behaviour: Behaviour) -> tuple[ConnectorError, float]:
    """The error of a call that the server answers so, and how long it took.

    Only where no answer comes is the deadline short: a slow machine must not turn an answer into a timeout.
    """
    server.script = lambda seen: behaviour

    async def ask(judge: Judge) -> ConnectorError:
        with pytest.raises(ConnectorError) as caught:
            await judge.ask(request())
        return caught.value

    judge = real(kind, server, deadline_s=SHORT_S if behaviour in WAITING else PATIENT_S)
    start = time.monotonic()
    return use(judge, ask), time.monotonic() - start


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("rate_limited", RateLimitedError),
        ("overloaded", RateLimitedError),
        ("error", TransientError),
        ("html", TransientError),
        ("cut_body", TransientError),
        ("hang", TransientError),
        ("hang_after_headers", TransientError),
        ("drip", TransientError),
        ("close", TransientError),
        ("close_after_headers", TransientError),
        ("bad_request", DoubtfulError),
        ("refused", PoisonError),
        ("unauthorized", FatalError),
        ("unknown_model", FatalError),
        ("no_quota", FatalError),
        ("redirect", FatalError),
    ],
)
def test_every_failure_has_its_type(
    kind: str, server: JudgeServer, behaviour: Behaviour, error: type[ConnectorError]
) -> None:
    """One request is made, the deadline holds, the error says what to do, and no key is in it."""
    raised, wall_s = refused(kind, server, behaviour)
    assert type(raised) is error
    assert wall_s < PATIENT_S
    assert len(server.seen) == 1
    if behaviour == "unauthorized":
        assert KEY not in str(raised)
    assert "\n" not in str(raised)


@pytest.mark.parametrize("said", ["7", "7.0"])
def test_retry_after_is_passed_on(kind: str, server: JudgeServer, said: str) -> None:
    """The server's wish, in seconds."""
    server.retry_after = said
    raised, _ = refused(kind, server, "rate_limited")
    assert isinstance(raised, RateLimitedError)
    assert raised.retry_after_s == 7


def test_a_timeout_is_told_apart(kind: str, server: JudgeServer) -> None:
    """Its cause says that time ran out, for the metric."""
    raised, _ = refused(kind, server, "hang")
    assert isinstance(raised.__cause__, TimeoutError)


def test_openai_asks_as_its_interface_wants(server: JudgeServer) -> None:
    """Schema, log-probabilities, one system message first, the key in the header only."""
    server.alternatives = lambda score: {str(score): -0.1, "9": -2.5}
    reply = use(real("openai", server), lambda judge: judge.ask(request(logprobs=True)))
    body = server.seen[0].body
    assert body["messages"][0] == {"role": "system", "content": "You judge."}
    assert body["response_format"]["json_schema"]["strict"] is True
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert reply.tokens[1].token == " 5"
    assert reply.tokens[1].alternatives == {" 5": -0.1, " 9": -2.5}


def test_anthropic_asks_as_its_interface_wants(server: JudgeServer) -> None:
    """The system text is cached, the schema sent, cached tokens are counted."""
    reply = use(real("anthropic", server), lambda judge: judge.ask(request()))
    body = server.seen[0].body
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["output_config"]["format"]["type"] == "json_schema"
    sent = server.seen[0].headers
    assert KEY in (sent.get("x-api-key"), sent.get("authorization", "").removeprefix("Bearer "))
    assert reply.usage.input_tokens == 1000


def test_the_schema_can_be_left_out(server: JudgeServer) -> None:
    """For servers that do not know it."""
    plain = OpenAIJudge(
        name="small", family="f", model="m", api_key=None, base_url=server.openai_url, structured=False
    )
    use(plain, lambda judge: judge.ask(request()))
    assert "response_format" not in server.seen[0].body


def test_a_proxy_of_the_environment_is_not_used(
    kind: str, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs go where the configuration says and nowhere else."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert use(real(kind, server), lambda judge: judge.ask(request())).text


def test_a_judge_that_is_not_there_took_no_request(kind: str) -> None:
    """A refused connection is no timeout: nothing was sent, so nothing may be billed."""
    with JudgeServer() as gone:
        pass
    judge = real(kind, gone)

    async def ask() -> None:
        try:
            await judge.ask(request())
        finally:
            await judge.close()

    with pytest.raises(TransientError, match=r"127\.0\.0\.1") as caught:
        asyncio.run(ask())
    assert not isinstance(caught.value.__cause__, TimeoutError)

"""What providers really answer: each kind of answer ends as what it is, and costs what it costs."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import FatalError
from daemon.store.store import Store
from policies.judging.prompts import cases_in
from policies.policy import JudgingRule
from tests.daemon.stages.judge.court import PRICED, Court, config, over_http
from tests.requirements import missing
from tests.servers.provider import VERDICT, Provider, Reply, completion, refusal

FIXTURES = Path(__file__).resolve().parents[5] / "shared" / "data" / "field" / "providers"
TOKEN_USD = PRICED.input_per_million / 1e6
HANDFUL = 6
"""Calls that a provider which refuses them all gets at most."""


@dataclass(frozen=True)
class Right:
    """What is right for six answers to score: how many are judged and abstained from, whether the judge
    stops, what the reason holds, and how many tokens of each call are booked (None: nothing; 0: an estimate).
    """

    judged: int = 0
    abstained: int = 0
    stops: bool = False
    said: str = ""
    tokens: int | None = 960


def nested(body: dict[str, Any], depth: int) -> bytes:
    """The body with a key that is nested so deeply, and holds what PostgreSQL takes in no text."""
    return (json.dumps(body)[:-1] + ', "x": ' + "[" * depth + r'"\u0000"' + "]" * depth + "}").encode()


READ = Right(judged=6)
RIGHT: Mapping[str, Right] = {
    "answered-unreadable--logprobs-without-top": READ,
    "answered-unreadable--no-choices": Right(stops=True, said="no chat completion", tokens=960),
    "answered-unreadable--no-content-key": Right(stops=True, said="judges.small.max_tokens", tokens=1924),
    "answered-unreadable--usage-without-completion": Right(judged=6, tokens=1924),
    "cut-off--thinking-ate-the-limit": Right(stops=True, said="judges.small.max_tokens", tokens=1924),
    "error-in-200--anthropic-overloaded": Right(said="Overloaded", tokens=None),
    "error-in-200--finish-reason-error": Right(said="Upstream timed out", tokens=960),
    "error-in-200--openrouter-502": Right(said="Upstream error from Acme", tokens=None),
    "forbidden--country": Right(stops=True, said="territory not supported", tokens=None),
    "forbidden--openrouter-moderation": Right(abstained=6, said="was flagged", tokens=None),
    "postgresql-only--logprob-minus-infinity": READ,
    "readable-in-a-shell--answer-in-reasoning-content": READ,
    "readable-in-a-shell--fence-on-one-line": READ,
    "readable-in-a-shell--keys-alphabetical": READ,
    "readable-in-a-shell--prose-then-fence": READ,
    "readable-in-a-shell--think-tags": READ,
    "refused-for-all--credit-balance": Right(stops=True, said="credit balance is too low", tokens=None),
    "refused-for-all--deepseek-response-format": Right(
        stops=True, said="judges.small.structured: false", tokens=None
    ),
    "refused-for-all--litellm-budget": Right(stops=True, said="Budget has been exceeded", tokens=None),
    "refused-for-all--mistral-422": Right(stops=True, said="judges.small.logprobs: false", tokens=None),
    "refused-for-all--opus-temperature": Right(
        stops=True, said="judges.small.temperature: null", tokens=None
    ),
    "refused-for-all--top-logprobs": Right(stops=True, said="judges.small.logprobs: false", tokens=None),
    "wrong-parameter--azure-max-tokens": Right(stops=True, said="judges.small.max_tokens", tokens=None),
}
OWN: Mapping[str, tuple[Reply, Right]] = {
    "unknown words for all": (refusal("Computer says no."), Right(stops=True, said="says no", tokens=None)),
    "parts": (completion([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": VERDICT}]), READ),
    "reasoning of OpenRouter": (completion(None, message={"content": None, "reasoning": VERDICT}), READ),
    "null log-probabilities": (completion(logprobs={"content": [{"top_logprobs": None}]}), READ),
    "odd log-probabilities": (completion(logprobs={"content": ["7"]}), READ),
    "usage that is no number": (
        completion(usage={"prompt_tokens": "900", "completion_tokens": float("nan"), "total_tokens": 960}),
        READ,
    ),
    "an enormous number": ((200, {**completion()[1], "created": 1e999}), READ),
    "a nest": ((200, nested(completion()[1], 700)), READ),
    "a choice that is null": (
        (200, {"choices": [None], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}),
        Right(stops=True, said="no chat completion", tokens=10),
    ),
    "a list": ((200, [1]), Right(stops=True, said="not a JSON object", tokens=0)),
    "a page": ((200, b"<html>busy</html>"), Right(said="a page", tokens=None)),
    "cut off in other words": (
        completion(VERDICT, finish_reason="MAX_TOKENS"),
        Right(stops=True, said="judges.small.max_tokens"),
    ),
    "a moderated answer": (
        completion("", finish_reason="content_filter"),
        Right(abstained=6, said="refused"),
    ),
    "an error as text": ((200, {"error": "upstream is away"}), Right(said="upstream is away", tokens=None)),
    "MiniMax without money": (
        (200, {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
        Right(stops=True, said="insufficient balance", tokens=None),
    ),
    "Moonshot without money": (
        refusal("Your account is suspended, please check your plan", status=429, code="x"),
        Right(stops=True, said="account is suspended", tokens=None),
    ),
}  # fmt: skip


def court_of(store: Store, provider: Provider, **changes: Any) -> Court:
    """Six answers to score by a judge behind the provider, at a dollar a thousand tokens."""
    court = Court(
        store,
        judge=over_http(provider.url),
        config=config(price=PRICED, logprobs=True, **changes),
        rule=JudgingRule(samples=1),
    )
    court.want_scores(*(f"answer {at}" for at in range(6)))
    return court


def run(court: Court, steps: int = 12) -> str:
    """Steps until nothing more is finished, or for so long; returns what stopped the judge, or ""."""

    async def step() -> str:
        stage = court.stage()
        try:
            for _ in range(steps):
                if all(row.state == "done" for row in court.judgements):
                    break
                await stage.step(court.role.value)
        except FatalError as error:
            return str(error)
        finally:
            await court.judge.close()
        return ""

    return asyncio.run(step())


def check(store: Store, reply: Reply, right: Right) -> None:
    """That the reply to every call ends as it should."""
    with Provider(lambda asked: reply) as provider:
        court = court_of(store, provider, attempts=1)
        stopped = run(court)
        asked = len(provider.seen)
    assert bool(stopped) == right.stops, stopped
    verdicts = court.verdicts
    assert [row.value for row in verdicts if row.abstention is None] == [7.0] * right.judged
    assert len([row for row in verdicts if row.abstention]) == right.abstained
    waiting = [row for row in court.judgements if row.state == "open"]
    assert len(waiting) == 6 - right.judged - right.abstained
    assert all(row.token is None for row in waiting)
    reasons = [stopped, *(row.error or "" for row in waiting), *(row.abstention or "" for row in verdicts)]
    assert any(right.said in each for each in reasons), reasons
    if right.stops:
        assert asked <= HANDFUL
    assert asked == len(court.calls), "a call is not stored"
    _check_money(court, right)


def _check_money(court: Court, right: Right) -> None:
    spent = court.budget.spent_today(court.named)
    assert spent.reserved == 0
    assert spent.settled == pytest.approx(sum(row.cost_usd for row in court.calls))
    for row in court.calls:
        if right.tokens is None:
            assert row.cost_usd == 0
        elif right.tokens:
            assert row.cost_usd == pytest.approx(right.tokens * TOKEN_USD)
        else:  # nobody says what was billed: the estimate is
            assert row.cost_usd > 0


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_every_answer_of_the_field_ends_as_it_should(sqlite_store: Store, name: str) -> None:
    """Answers that public reports tell of, written anew."""
    path = FIXTURES / f"{name}.json"
    if not path.exists():
        missing("data", "../shared/data/field is absent: no providers' answers to serve")
    fixture = json.loads(path.read_text(encoding="utf-8"))
    check(sqlite_store, (fixture["status"], fixture["body"]), RIGHT[name])


def test_no_answer_of_the_field_is_left_out() -> None:
    """A file that is added needs its right ending here."""
    if not FIXTURES.exists():
        missing("data", "../shared/data/field is absent: no providers' answers to serve")
    assert {path.stem for path in FIXTURES.glob("*.json")} == set(RIGHT)


@pytest.mark.parametrize("name", sorted(OWN))
def test_every_kind_of_answer_ends_as_it_should(sqlite_store: Store, name: str) -> None:
    """The kinds that the field's answers are cases of, in other cases."""
    check(sqlite_store, *OWN[name])


def test_numbers_that_are_not_finite_are_stored_on_any_database(store: Store) -> None:
    """JSON with NaN and infinities in it is refused by PostgreSQL; the call is stored all the same."""
    top = [{"token": "7", "logprob": -0.1}, {"token": "8", "logprob": float("-inf")}]
    steps = [VERDICT[:-2], "7", "}"]
    tokens = [
        {"token": each, "logprob": float("nan"), "top_logprobs": top if each == "7" else []} for each in steps
    ]
    check(store, completion(logprobs={"content": tokens}), READ)


def speaking(wanted: Mapping[str, Any], message: str) -> Any:
    """Answers where the request has what is wanted (None: it must be absent), and refuses any other."""

    def answer(asked: Mapping[str, Any]) -> Reply:
        fits = all(
            (name not in asked) if value is None else asked.get(name) == value
            for name, value in wanted.items()
        )
        return completion() if fits else refusal(message)

    return answer


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"max_tokens": None, "max_completion_tokens": 1024},
         "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens'."),
        ({"temperature": None}, "Unsupported value: 'temperature' does not support 0.0 with this model."),
        ({"temperature": None}, "invalid temperature: only 1 is allowed for this model"),
        ({"top_logprobs": 5}, "top_logprobs must be between 0 and 5"),
        ({"logprobs": None, "top_logprobs": None}, "logprobs is not supported by this model"),
        ({"response_format": {"type": "json_object"}}, "This response_format type is unavailable now"),
        ({"response_format": None}, "response_format is not supported"),
        ({"response_format": None, "logprobs": None, "temperature": None},
         "Unsupported: response_format, logprobs, temperature"),
    ],
)  # fmt: skip
def test_a_dialect_is_learnt_once(sqlite_store: Store, wanted: Mapping[str, Any], message: str) -> None:
    """From the refusal, and kept: the other judgements are asked as the server wants at once."""
    with Provider(speaking(wanted, message)) as provider:
        court = court_of(sqlite_store, provider)
        assert run(court) == ""
        refused = [row for row in court.calls if row.outcome == "refused"]
    assert [row.value for row in court.verdicts] == [7.0] * 6
    assert 1 <= len(refused) <= 4
    assert {row.cost_usd for row in refused} == {0.0}
    assert len(provider.seen) == 6 + len(refused)


def test_a_judge_that_never_writes_a_judgement_is_stopped(sqlite_store: Store) -> None:
    """Twenty questions are enough to know; the rest of the queue is neither paid nor given up."""
    with Provider(lambda asked: completion("I like it.")) as provider:
        court = court_of(sqlite_store, provider, concurrency=1)
        court.want_scores(*(f"another {at}" for at in range(40)))
        assert "judges.small.structured; so with the last 20 questions" in run(court)
    assert len([row for row in court.judgements if row.state == "open"]) == 27
    assert len(provider.seen) == 40


def test_no_judgement_stands_in_the_way_of_others(sqlite_store: Store) -> None:
    """Five that are cut off stop the judge at its start; when it is tried again, it is with another one."""

    def answer(asked: Mapping[str, Any]) -> Reply:
        case = cases_in(asked["messages"][1]["content"])
        return completion() if case.answers == ("answer 5",) else completion("", finish_reason="length")

    async def steps(court: Court) -> None:
        stage = court.stage()
        for _ in range(12):
            with contextlib.suppress(FatalError):
                await stage.step(court.role.value)
            court.clock.advance(3600)  # type: ignore[attr-defined]
        await court.judge.close()

    with Provider(answer) as provider:
        court = court_of(sqlite_store, provider)
        asyncio.run(steps(court))
    assert [row.value for row in court.verdicts if row.abstention is None] == [7.0]


def test_a_gateway_that_refuses_with_a_success_teaches_too(sqlite_store: Store) -> None:
    """The refusal is in the body; what is learnt is the same."""
    refused = {
        "error": {"code": 400, "message": "Unsupported parameter: 'max_tokens'", "param": "max_tokens"}
    }
    with Provider(lambda asked: (200, refused) if "max_tokens" in asked else completion()) as provider:
        court = court_of(sqlite_store, provider)
        assert run(court) == ""
    assert [row.value for row in court.verdicts] == [7.0] * 6
    assert len(provider.seen) == 7


def test_a_judge_that_costs_and_gives_nothing_rests(sqlite_store: Store) -> None:
    """After it was stopped it is tried again later and later, and the line stands meanwhile."""

    async def calls(court: Court, provider: Provider) -> list[int]:
        stage, made = court.stage(), []
        for wait_s in (0, 0, 0, 0, 0, 30, 31, 60, 61, 3600):
            court.clock.advance(wait_s)  # type: ignore[attr-defined]
            with contextlib.suppress(FatalError):
                await stage.step(court.role.value)
            made.append(len(provider.seen))
        await court.judge.close()
        return made

    with Provider(lambda asked: completion("", finish_reason="length")) as provider:
        made = asyncio.run(calls(court_of(sqlite_store, provider), provider))
    assert made == [1, 2, 3, 4, 5, 5, 6, 6, 7, 8]


def test_one_odd_item_is_refused_alone(sqlite_store: Store) -> None:
    """In words that tell nothing: a plain question gets through, so it is the item. The others are judged."""

    def answer(asked: Mapping[str, Any]) -> Reply:
        case = cases_in(asked["messages"][1]["content"])
        return refusal("Computer says no.") if case.answers == ("answer 0",) else completion()

    with Provider(answer) as provider:
        court = court_of(sqlite_store, provider)
        assert run(court) == ""
    abstained = [row.abstention for row in court.verdicts if row.abstention]
    assert abstained == ["judge small: HTTP 400: Computer says no."]
    assert len(provider.seen) == 7


def test_money_that_ends_in_the_middle_makes_no_verdict(sqlite_store: Store) -> None:
    """What was answered before is kept; what was refused goes back, however it is worded."""
    left = [3]

    def answer(asked: Mapping[str, Any]) -> Reply:
        left[0] -= 1
        return completion() if left[0] >= 0 else refusal("Your plan is exhausted.")

    with Provider(answer) as provider:
        court = court_of(sqlite_store, provider, concurrency=1)
        assert "exhausted" in run(court)
    assert [row.value for row in court.verdicts] == [7.0] * 3
    assert len([row for row in court.judgements if row.state == "open"]) == 3
    assert len(provider.seen) <= 3 + HANDFUL


def test_a_cut_off_answer_among_whole_ones_is_not_asked_again(sqlite_store: Store) -> None:
    """The same limit would cut it again: one call, and the line names the limit."""

    def answer(asked: Mapping[str, Any]) -> Reply:
        case = cases_in(asked["messages"][1]["content"])
        return completion("", finish_reason="length") if case.answers == ("answer 3",) else completion()

    with Provider(answer) as provider:
        court = court_of(sqlite_store, provider)
        assert run(court) == ""
    (abstained,) = [row for row in court.verdicts if row.abstention]
    assert "judges.small.max_tokens (1024)" in abstained.abstention
    assert len(provider.seen) == 6
    assert abstained.cost_usd == pytest.approx(960 * TOKEN_USD)


def test_what_cannot_be_read_again_and_again_ends(sqlite_store: Store) -> None:
    """Paid for twice, then an abstention; the others are judged."""

    def answer(asked: Mapping[str, Any]) -> Reply:
        case = cases_in(asked["messages"][1]["content"])
        return (200, {"choices": []}) if case.answers == ("answer 3",) else completion()

    with Provider(answer) as provider:
        court = court_of(sqlite_store, provider)
        stage_runs = 0
        while any(row.state == "open" for row in court.judgements) and stage_runs < 5:
            court.judge = over_http(provider.url)
            assert run(court, steps=2) == ""
            court.clock.advance(120)  # type: ignore[attr-defined]
            stage_runs += 1
    (abstained,) = [row for row in court.verdicts if row.abstention]
    assert "no chat completion" in abstained.abstention
    assert len([row for row in court.calls if row.outcome == "unreadable"]) == 2

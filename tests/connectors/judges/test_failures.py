"""Failures of providers: which wait, which item is given up, which stop everything, which are in doubt."""

import pytest

from connectors.errors import (
    DoubtfulError,
    FatalError,
    PoisonError,
    RateLimitedError,
    TransientError,
    UnreadableError,
)
from connectors.judges.failures import AskedJudge, failure, failure_in_body, object_of
from tests.growth import LINEAR, growth

NOW = 1_700_000_000.0
KEY = "sk-canary-0123456789"
ASKED = AskedJudge("small", "POST http://judge/v1/chat/completions", (KEY,))


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "invalid_request_error", DoubtfulError),
        (413, "", DoubtfulError),
        (422, "", DoubtfulError),
        (400, "context_length_exceeded", DoubtfulError),
        (400, "content_filter", PoisonError),
        (400, "budget_exceeded", FatalError),
        (400, "unsupported_parameter", FatalError),
        (429, "insufficient_quota", FatalError),
        (402, "", FatalError),
        (403, "", FatalError),
        (404, "", FatalError),
        (302, "", FatalError),
        (408, "", TransientError),
        (503, "", TransientError),
        (529, "", RateLimitedError),
    ],
)
def test_a_status_and_code_make_a_type(status: int, code: str, error: type[Exception]) -> None:
    """What every further call would get too is fatal: else a wrong key would make a thousand abstentions."""
    body = {"error": {"message": "no", "code": code}}
    assert type(failure(ASKED, status, headers={}, body=body, now=NOW)) is error


CREDIT = "Your credit balance is too low to access the API."
FLAGGED = {"error": {"message": "No.", "code": 403, "metadata": {"reasons": ["violence"]}}}
BEHIND = {
    "error": {"message": "Provider returned error", "metadata": {"raw": '{"error": "API key expired"}'}}
}


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (400, {"type": "error", "error": {"message": CREDIT}}, FatalError, "too low"),
        (429, {"error": {"code": "1113", "message": "Insufficient balance"}}, FatalError, "the account"),
        (429, {"error": {"message": "Quota exceeded. Retry in 30s"}}, RateLimitedError, "Retry in"),
        (422, {"detail": [{"loc": ["body", "top_k"], "msg": "Extra inputs", "type": "extra_forbidden"}]},
         FatalError, "Extra inputs: check judges.small"),
        (400, {"detail": "Bad"}, DoubtfulError, "Bad"),
        (400, [{"error": {"message": "Bad", "status": "INVALID_ARGUMENT"}}], DoubtfulError, "Bad"),
        (400, {"error": "plain"}, DoubtfulError, "plain"),
        (400, {"object": "error", "message": "top"}, DoubtfulError, "top"),
        (400, {"message": {"detail": [{"msg": "inside"}]}}, DoubtfulError, "inside"),
        (400, {"error": {"message": "max_tokens is too large: 9. At most 5", "param": "max_tokens"}},
         FatalError, "set judges.small.max_tokens"),
        (400, {"error": {"message": "The model `x` does not exist"}}, FatalError, "check judges.small.model"),
        (400, {"error": {"message": "`temperature` is deprecated for this model."}},
         FatalError, "set judges.small.temperature: null"),
        (400, {"error": {"message": "This response_format type is unavailable now"}},
         FatalError, "set judges.small.structured: false"),
        (400, {"error": {"message": "top_logprobs must be between 0 and 5"}},
         FatalError, "set judges.small.logprobs: false"),
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, FatalError, "provided: ***:"),
        (401, {"error": {"message": "key gsk_abcdef123456 is disabled"}}, FatalError, "key *** is disabled"),
        (403, {"error": {"message": "Country, region, or territory not supported"}}, FatalError, "territory"),
        (403, FLAGGED, PoisonError, "No."),
        (403, {"error": {"message": "Your input was flagged"}}, PoisonError, "flagged"),
        (404, None, FatalError, "asked POST http://judge/v1/chat/completions: 404"),
        (404, {"detail": "Not Found"}, FatalError, "check judges.small.base_url and model"),
        (400, BEHIND, FatalError, "check judges.small.api_key_file"),
    ],
)  # fmt: skip
def test_the_providers_words_are_kept_and_say_what_to_change(
    status: int, body: object, error: type[Exception], said: str
) -> None:
    """In whatever shape they come; keys are masked, and the key of the configuration is named."""
    raised = failure(ASKED, status, headers={}, body=body, now=NOW)
    assert type(raised) is error
    assert said in str(raised)
    assert KEY not in f"{raised}{raised.received}"
    assert "\n" not in str(raised)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"message": "Upstream error from Acme: overloaded", "code": 502}, TransientError),
        ({"type": "overloaded_error", "message": "Overloaded"}, RateLimitedError),
        ({"message": "Upstream timed out"}, TransientError),
        ("something broke", TransientError),
        ({"message": "No credits", "code": 402}, FatalError),
        ({"message": CREDIT}, FatalError),
        ({"code": 401, "message": "no"}, FatalError),
        ({"code": "400", "message": "no"}, DoubtfulError),
        ({"message": "Your input was flagged"}, PoisonError),
        ({"status_code": 1008, "status_msg": "insufficient balance"}, FatalError),
    ],
)
def test_an_error_in_a_success_is_sorted_like_its_status(said: object, error: type[Exception]) -> None:
    """Gateways answer 200 and say the rest inside; without a status of its own it is an outage."""
    assert type(failure_in_body(ASKED, {"error": said}, said)) is error


@pytest.mark.parametrize(
    "body", [{"a": "x" * 10_000}, "[" * 9_000, {"error": {"error": {"error": {}}}}, [[[[[]]]]]]
)
def test_any_depth_and_length_of_words_is_one_short_line(body: object) -> None:
    """Providers quote whole prompts, and proxies whole pages."""
    assert len(str(failure(ASKED, 400, headers={}, body=body, now=NOW))) < 300


@pytest.mark.parametrize("body", [None, "text", {"error": "plain"}, {"message": "inner", "type": "x"}, {}])
def test_any_body_is_described(body: object) -> None:
    """Bodies come in every shape."""
    assert "HTTP 500" in str(failure(ASKED, 500, headers={}, body=body, now=NOW))


@pytest.mark.parametrize(
    ("message", "code", "error"),
    [
        ("Insufficient balance or no resource package. Please recharge.", "1113", FatalError),
        ("Your account balance is insufficient", "", FatalError),
        (
            "You exceeded your current quota, check your plan and billing details.",
            "insufficient_quota",
            FatalError,
        ),
        ("You exceeded your current quota, check your plan and billing details.", "429", RateLimitedError),
        ("Rate limit reached for requests per minute", "", RateLimitedError),
    ],
)
def test_money_that_is_gone_is_no_rate_limit(message: str, code: str, error: type[Exception]) -> None:
    """Some say both with 429 and a time to wait: what is paid for by a person is not waited for."""
    body = {"error": {"message": message, "code": code}}
    assert type(failure(ASKED, 429, headers={"retry-after": "3"}, body=body, now=NOW)) is error


@pytest.mark.parametrize("word", ["model ", "sk-abc", "api key ", "\n", "account ", "bearer "])
def test_reading_words_costs_no_more_than_their_length(word: str) -> None:
    """Some providers send a page of them, and who asks may be quoted in it."""

    def read(size: int) -> object:
        body = {"error": {"message": word * (size // len(word))}}
        return failure(ASKED, 400, headers={}, body=body, now=NOW)

    assert growth(read, 100_000) < LINEAR


@pytest.mark.parametrize(
    ("content", "served"),
    [
        (b"", False),
        (b" \n", False),
        (b"<html>", False),
        (b"[1]", True),
        (b'{"a": ', True),
        (b"[" * 9_000, True),
    ],
)
def test_a_body_that_is_no_object_is_transient(content: bytes, served: bool) -> None:
    """The next one may be whole; a judge, and no proxy's page, may have been paid for it."""
    with pytest.raises(TransientError) as raised:
        object_of(ASKED, content)
    assert isinstance(raised.value, UnreadableError) == served
    assert raised.value.received is not None
    assert raised.value.received.served == served

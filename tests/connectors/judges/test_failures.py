"""Failures of providers: which wait, which item is given up, and which stop everything."""

import pytest

from connectors.errors import FatalError, PoisonError, RateLimitedError, TransientError
from connectors.judges.failures import failure, object_of, retry_after

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "invalid_request_error", PoisonError),
        (413, "", PoisonError),
        (422, "", PoisonError),
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
    assert type(failure("small", status, headers={}, body=body, now=NOW)) is error


@pytest.mark.parametrize("body", [None, "text", {"error": "plain"}, {"message": "inner", "type": "x"}, {}])
def test_any_body_is_described(body: object) -> None:
    """Bodies come in every shape."""
    assert "HTTP 500" in str(failure("small", 500, headers={}, body=body, now=NOW))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "1e99"}, 3600.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds, dates; bounded; nonsense is None."""
    assert retry_after(headers, now=NOW) == seconds


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b'{"a": ', b"[" * 100_000])
def test_a_body_that_is_no_object_is_transient(content: bytes) -> None:
    """The next one may be whole."""
    with pytest.raises(TransientError):
        object_of("small", content)

"""What an answer without success means: the words where they tell, else the status."""

import pytest

from connectors.http import Failure, failure_of, retry_after
from connectors.refusals import Refusal

NOW = 1_700_000_000.0
NOTHING = Refusal()
EMPTY = Refusal("Your credit balance is too low")
QUOTA = Refusal("You exceeded your current quota, please check your plan")


@pytest.mark.parametrize(
    ("status", "said", "wait_s", "expected"),
    [
        (301, NOTHING, None, Failure.ADDRESS),
        (400, NOTHING, None, Failure.OTHER),
        (400, EMPTY, None, Failure.CREDIT),
        (400, Refusal("API key not valid"), None, Failure.KEY),
        (400, Refusal("maximum context length is 9"), None, Failure.LENGTH),
        (400, Refusal("was flagged"), None, Failure.MODERATED),
        (401, NOTHING, None, Failure.KEY),
        (402, NOTHING, None, Failure.CREDIT),
        (403, NOTHING, None, Failure.RIGHTS),
        (403, Refusal("requires moderation"), None, Failure.MODERATED),
        (404, NOTHING, None, Failure.ADDRESS),
        (408, NOTHING, None, Failure.OUTAGE),
        (413, NOTHING, None, Failure.LENGTH),
        (422, NOTHING, None, Failure.OTHER),
        (429, NOTHING, None, Failure.OVERLOAD),
        (429, QUOTA, None, Failure.CREDIT),
        (429, QUOTA, 3.0, Failure.OVERLOAD),
        (429, EMPTY, 3.0, Failure.CREDIT),
        (500, EMPTY, None, Failure.OUTAGE),
        (503, Refusal("was flagged"), None, Failure.OUTAGE),
        (529, NOTHING, None, Failure.OVERLOAD),
    ],
)
def test_words_decide_before_the_status(
    status: int, said: Refusal, wait_s: float | None, expected: Failure
) -> None:
    """A quota with a wish to wait is a rate; an empty account is none, whatever its status below 500."""
    assert failure_of(status, said, wait_s) is expected


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

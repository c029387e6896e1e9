"""What a refusal teaches of how a server wants to be asked, and what it does not."""

from typing import Any

import pytest

from connectors.judges.dialect import Dialect, setting_of
from connectors.refusals import Refusal

SENT: dict[str, Any] = {"max_tokens": 9, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}
SENT |= {"response_format": {}}


@pytest.mark.parametrize(
    ("words", "param", "learnt"),
    [
        ("max_tokens is not supported", "", Dialect(limit="max_completion_tokens", spelled=True)),
        (
            "Unrecognized request argument supplied: max_tokens",
            "",
            Dialect("max_completion_tokens", spelled=True),
        ),
        ("no", "temperature", Dialect(temperature=False)),
        ("logprobs unavailable", "", Dialect(top_logprobs=0)),
        ("top_logprobs: less than or equal to 8, extra", "top_logprobs", Dialect(top_logprobs=8)),
        ("json_schema is not supported", "", Dialect(form="json_object")),
        ("no", "response_format.type", Dialect(form="json_object")),
        ("max_tokens is too large: 9", "max_tokens", None),
        ("temperature must be less than or equal to 1", "", None),
        ("The customer's max_tokens and temperature are nice", "", None),
        ("Unsupported parameter: top_k", "", None),
        ("no", "", None),
    ],
)
def test_the_setting_that_is_refused_is_taken_away(words: str, param: str, learnt: Dialect | None) -> None:
    """Only what was sent, and only where the words say no to it: an amount is for a person to change."""
    assert Dialect().learnt(Refusal(words, param=param), SENT) == learnt


def test_each_step_takes_something_away_and_the_steps_end() -> None:
    """A server that refuses everything is asked plainly in the end, and then nothing more is learnt."""
    dialect: Dialect | None = Dialect()
    sent = dict(SENT)
    steps = 0
    while dialect is not None:
        last, steps = dialect, steps + 1
        words = "not supported: max_tokens max_completion_tokens temperature logprobs response_format"
        dialect = last.learnt(Refusal(words), sent)
        if dialect is not None and not dialect.temperature:
            sent.pop("temperature", None)
        if dialect is not None and not dialect.top_logprobs:
            sent.pop("logprobs", None)
        if dialect is not None and dialect.form == "none":
            sent.pop("response_format", None)
    assert last == Dialect(
        "max_completion_tokens", spelled=True, temperature=False, top_logprobs=0, form="none"
    )
    assert steps == 6


def test_the_advice_names_the_key() -> None:
    """Of the judge that is refused."""
    setting = setting_of(Refusal("`temperature` is deprecated"))
    assert setting is not None
    assert setting.advice("judges.gate") == "set judges.gate.temperature: null"

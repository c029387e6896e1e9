"""Texts and numbers of a configuration are what they seem to be."""

from typing import Any

import pytest
from pydantic import Field, ValidationError

from policies.configured import MEANT, Configured, address, presentable


class Section(Configured):
    number: float = 1.0
    count: int = Field(default=1, ge=1)
    flag: bool = False
    text: str | None = None
    texts: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("number", True), ("count", True), ("text", False), ("text", ""), ("text", "  "), ("text", "a "),
        ("text", "a\nb"), ("text", "a\x00"), ("text", "a\u200bb"), ("texts", ["fine", "\u00a0"]),
    ],
)  # fmt: skip
def test_what_is_hardly_meant_is_refused_with_its_key(key: str, value: Any) -> None:
    """A truth for a number, and text that is empty, padded, or not to be seen."""
    with pytest.raises(ValidationError) as caught:
        Section.model_validate({key: value})
    (found,) = caught.value.errors()
    assert (found["type"], found["ctx"]["key"]) == (MEANT, key)


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e400", float("inf"), float("nan")])
def test_every_number_is_finite(number: Any) -> None:
    """Also one that is written as a text, or is too large to be one."""
    with pytest.raises(ValidationError, match="finite"):
        Section.model_validate({"number": number})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "is no URL"), ("ftp://h/v1", "is no URL"), ("http://", "is no URL"),
        ("h:80/v1", "is no URL"),
        ("http://h:99999/v1", "is no URL"), ("http://[::1/v1", "is no URL"), ("https://h /v1", "is no URL"),
        ("https://u:CANARY@h/v1", "holds a user or a password"), ("https://CANARY@h/v1", "holds a user"),
        ("https://h/v1?key=CANARY", "has a `?`"), ("https://h/v1#x", "has a `?` or `#`"),
        ("https://h/v1?", "has a"),
        ("https://h/v1/chat/completions", "ends in /chat"), ("https://h/v1/messages/", "/messages"),
    ],
)  # fmt: skip
def test_an_address_where_nothing_can_be_asked_is_refused(url: str, said: str) -> None:
    """And a password in it is in no line."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        address(url)
    assert said in str(caught.value)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/v1", "https://h", "http://[::1]:80/v1/", "https://h/a/v1"]
)
def test_an_address_is_kept_as_it_is(url: str) -> None:
    """It is asked as it was written."""
    assert address(url) == url


@pytest.mark.parametrize("token", ["", " ", "a b", "a\nb", "ключ", "a\tb", "\u200b"])
def test_a_token_that_no_header_carries_is_refused(token: str) -> None:
    """Nobody would get in, and no alert either."""
    with pytest.raises(ValueError, match="nobody can present it"):
        presentable(token, guessed_at=False)


def test_a_token_that_others_may_guess_is_refused() -> None:
    """Fifteen characters on an address that others reach; on loopback any."""
    with pytest.raises(ValueError, match="may guess it"):
        presentable("x" * 15, guessed_at=True)
    assert presentable("x" * 16, guessed_at=True) == "x" * 16
    assert presentable("x", guessed_at=False) == "x"

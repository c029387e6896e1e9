"""What every part of the configuration has in common, and the bounds that several of its numbers share.

A bound is where a value stops being one that can work; what merely weakens is accepted, and told by
`policies.laxity`. Every number is finite: an infinite limit is none, and no comparison with a NaN holds.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from policies.records import Frozen

MEANT: Final = "meant"
TOKEN_LENGTH = 16
"""Characters of a token that others than this machine may try."""
YEAR_S = 366 * 86_400.0
PLAIN = r"^[A-Za-z0-9]([A-Za-z0-9 ._/-]*[A-Za-z0-9])?$"
"""Letters that look alike in other scripts, and those that are not seen at all, are not among these."""

Often = Annotated[float, Field(ge=0.001, le=3600)]
"""Seconds from one look to the next."""
Seconds = Annotated[float, Field(ge=0.001, le=YEAR_S)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Temperature = Annotated[float, Field(ge=0.01, le=2)]
"""Providers take no more than 2. At 0 all answers to a prompt would be one."""
Family = Annotated[str, Field(pattern=PLAIN, max_length=64)]


class Configured(Frozen):
    """A part of the configuration. Text is one line that can be seen, and a truth is no number."""

    model_config = ConfigDict(allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, written: Any) -> Any:
        return as_meant(cls, written)


def misfit(key: str, why: str) -> PydanticCustomError:
    """What a validator of a whole section raises where one key in it is at fault."""
    return PydanticCustomError(MEANT, "{why}", {"key": key, "why": why})


def as_meant(model: type[BaseModel], written: Any) -> Any:
    """What is written for a model, unless a value is hardly what was meant.

    Raises a pydantic error of the type `MEANT`, whose context names the key: a validator of each field by
    itself may not be one of the key that tells the members of a union apart.
    """
    for name, value in written.items() if isinstance(written, Mapping) else ():
        field = model.model_fields.get(name)
        if field is None:
            continue  # told as an unknown key
        try:
            _require_meant(field.annotation, value)
        except ValueError as error:
            raise misfit(name, str(error)) from None
    return written


def _require_meant(annotation: Any, value: Any) -> None:
    if isinstance(value, bool) and bool not in {annotation, *get_args(annotation)}:
        raise ValueError(f"{str(value).lower()} is no value of this key: write the number or the text")
    for each in value if isinstance(value, list | tuple) else (value,):
        _require_readable(each)


def _require_readable(value: Any) -> None:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return
    if not text.strip():
        raise ValueError("an empty text: write null where nothing is meant, or leave the key out")
    if text != text.strip():
        raise ValueError("begins or ends with a space: take it away")
    odd = next((char for char in text if not char.isprintable()), None)
    if odd is not None:
        raise ValueError(f"holds a character that cannot be seen (U+{ord(odd):04X}): take it away")


def presentable(token: str, *, guessed_at: bool) -> str:
    """The bearer token, unless no HTTP header can carry it, or others may guess it. Raises ValueError."""
    if not re.fullmatch(r"[!-~]+", token):
        raise ValueError("nobody can present it: write ASCII letters, digits and signs, without a space")
    if guessed_at and len(token) < TOKEN_LENGTH:
        raise ValueError(f"others than this machine may guess it: write {TOKEN_LENGTH} characters or more")
    return token


def kin(one: str, other: str) -> bool:
    """Whether two names are of one model family, whatever case, separators and version they have."""
    return _root(one) == _root(other)


def _root(family: str) -> str:
    """`llama` of `Llama-3.1`, `gpt` of `gpt_4o`: the leading letters where a number follows."""
    plain = re.sub(r"[\s._/-]+", "", family.casefold())
    return re.split(r"\d", plain, maxsplit=1)[0] or plain


def address(url: str) -> str:
    """The URL of a server of models, unless nothing could be asked there. Raises ValueError.

    What is refused is not quoted where it may hold a password.
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL: write http(s)://host:port/v1") from None
    if parts.scheme not in {"http", "https"} or not host or re.search(r"[\s\\]", url):
        raise ValueError("is no URL: write http(s)://host:port/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or a password: the key belongs into api_key_file")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("has a `?` or `#`: the path of the call is put behind it")
    for ending in ("/chat/completions", "/messages", "/completions"):
        if parts.path.rstrip("/").endswith(ending):
            raise ValueError(f"ends in {ending}, which is put behind it: leave that away")
    return url


BaseUrl = Annotated[str, AfterValidator(address)]


def same_address(one: str, other: str) -> bool:
    """Whether two URLs lead to one place."""
    return _place(urlsplit(one)) == _place(urlsplit(other))


def _place(parts: SplitResult) -> tuple[str, str, int | None, str]:
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").rstrip("."), port, parts.path.rstrip("/")

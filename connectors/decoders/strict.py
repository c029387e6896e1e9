"""JSON from strangers, read strictly: what parses here can be stored on every database.

Refused: NaN and Infinity, a key written twice, nesting deeper than `MAX_DEPTH`, NUL and lone surrogates in
any string. Each has a silent meaning somewhere further on (PostgreSQL text has no NUL, UTF-8 no surrogates).
"""

import json
import math
from typing import Any, NoReturn

import jiter

from connectors.errors import DecodeError, UnknownFormatError

MAX_DEPTH = 64
_NUL = "\\u0000"
"""How JSON writes NUL: it refuses the character itself."""
_REFUSED = object()


def parse(text: str) -> Any:
    """The value of a JSON text. Raises DecodeError with the place (UnknownFormatError where it is no JSON at
    all); never answers a part of it.
    """
    found = _quickly(text)
    return _slowly(text) if found is _REFUSED else found


def _quickly(text: str) -> Any:
    """The value by a parser in Rust, which takes no more than `_slowly` does; `_REFUSED` where it, or what
    it does not look for itself, leaves a doubt. That one then says what is wrong.
    """
    if _NUL in text:
        return _REFUSED
    try:
        value = jiter.from_json(
            text.encode(), allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys"
        )
    except ValueError:  # also a lone surrogate in the text itself
        return _REFUSED
    return value if _is_fit(value) else _REFUSED


def _is_fit(value: Any) -> bool:
    """Whether no number is infinite and nothing nested too deep. The parser has refused lone surrogates."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                below += item.values()
            elif kind is list:
                below += item
            elif kind is float and math.isinf(item):
                return False
        if not below:
            return True
        level = below
    return False


def _slowly(text: str) -> Any:
    """The same, with what is wrong and where."""
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique
        )
    except json.JSONDecodeError as error:
        raise UnknownFormatError(f"not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise DecodeError(f"nested deeper than {MAX_DEPTH}") from None
    except ValueError:  # an integer of more digits than Python converts
        raise DecodeError("a number is too long") from None
    check(value)
    return value


def check(value: Any) -> None:
    """Raises DecodeError where nesting, NUL or a lone surrogate make a parsed value unfit to store."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, dict):
                below.extend(item.keys())
                below.extend(item.values())
            elif isinstance(item, list | tuple):
                below.extend(item)
        if not below:
            return
        level = below
    raise DecodeError(f"nested deeper than {MAX_DEPTH}")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise DecodeError("a string holds NUL (\\u0000), which not every database can store")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DecodeError("a string holds a lone surrogate, which is not Unicode text") from None


def _refuse_constant(name: str) -> NoReturn:
    raise DecodeError(f"{name} is not JSON")


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise DecodeError("a number is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DecodeError(f"key {twice[:80]!r} is written twice")
    return found

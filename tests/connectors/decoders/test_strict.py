"""JSON from strangers: what the quick parser takes is exactly what the strict one does."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from connectors.decoders import strict
from connectors.errors import DecodeError

ODD = [
    "-0", "-0.0", "1e400", "-1e400", "1" * 4300, "1" * 4301, "1" * 400 + ".5", "1e-400", "9007199254740993.0",
    "1" * 30, "0.1", "1E5", "01", "1.", ".5", "+1", "-", "1e", "1_0", "-01", '"\\ud800"', '"\\ud83d\\ude00"',
    '"\\udc00\\ud800"', '"\ud800"', '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '{"a":{"b":1,"b":1}}', "NaN",
    "Infinity", "-Infinity", '"\x01"', '"\x7f"', '"\\u0000"', '"\\\\u0000"', '{"\\u0000":1}', '"\0"', "[1,]",
    '{"a":1,}', " [1]\x0c", "\xa0[1]", "[1] x", "", " ", "[" * 64 + "]" * 64, "[" * 65 + "]" * 65,
    "[" * 66 + "]" * 66, "[" * 250 + "]" * 250, '{"a":' * 65 + "1" + "}" * 65, '"\\x"', '"\\u+123"',
    '"\\u00E9"', "\ufeff[]", "'a'", "true", "truE", '"a\nb"', "// x\n1", "[1e999]", '"\x85\u2028"',
    "[" * 20_000,
]  # fmt: skip


def read(parse: Any, text: str) -> str:
    """What becomes of the text, with the types of its numbers."""
    try:
        return repr(parse(text))
    except DecodeError as error:
        return f"{type(error).__name__}: {error}"


def held(text: str) -> None:
    assert read(strict.parse, text) == read(strict._slowly, text)


@pytest.mark.parametrize("text", ODD, ids=lambda text: ascii(text[:24]))
def test_an_odd_text_reads_as_the_strict_parser_reads_it(text: str) -> None:
    """Values, refusals and their reasons."""
    held(text)


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


PIECES = ["", "\\u", *'"\\{}[],:0eE-.\0\ud800 u']


@settings(max_examples=300, deadline=None, derandomize=True)
@given(value=JSON, at=some.integers(0, 200), put=some.sampled_from(PIECES), ascii_=some.booleans())
def test_a_mutated_text_reads_as_the_strict_parser_reads_it(
    value: Any, at: int, put: str, ascii_: bool
) -> None:
    """Wherever a piece of JSON's grammar is put in."""
    text = json.dumps(value, ensure_ascii=ascii_)
    held(text)
    held(text[:at] + put + text[at + 1 :])


def test_plain_json_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strict parser is asked only where there is something to refuse."""
    asked: list[str] = []
    monkeypatch.setattr(strict, "_slowly", asked.append)
    assert strict.parse('{"a": [1, 2.5, "\u00e9", null]}') == {"a": [1, 2.5, "é", None]}
    assert not asked
    strict.parse('{"a": NaN}')
    assert asked == ['{"a": NaN}']

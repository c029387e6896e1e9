"""What a call used is counted alike, whichever way a provider counts it."""

from typing import Any

import pytest

from connectors.decoders.usage import usage_of
from policies.records import TokenUsage
from tests.connectors.decoders.events import native, openai
from tests.connectors.decoders.test_decoders import trace

OPENAI = {
    "prompt_tokens": 100, "completion_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens_details": {"reasoning_tokens": 5},
}  # fmt: skip
ANTHROPIC = {
    "input_tokens": 30, "output_tokens": 20,
    "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10,
}  # fmt: skip
ALL = TokenUsage(input_tokens=100, output_tokens=20, cache_read_tokens=60, cache_write_tokens=10)


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (OPENAI, ALL.model_copy(update={"cache_write_tokens": 0, "reasoning_tokens": 5})),
        (ANTHROPIC, ALL),
        ({"input_tokens": 100, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 60},
          "output_tokens_details": {"reasoning_tokens": 5}},
         ALL.model_copy(update={"cache_write_tokens": 0, "reasoning_tokens": 5})),
        # LiteLLM's of a call of Anthropic's: the total is OpenAI's, the keys beside it are Anthropic's.
        ({"prompt_tokens": 100, "completion_tokens": 20, "cache_read_input_tokens": 60,
          "cache_creation_input_tokens": 10}, ALL),
        ({"input_tokens": 1.0, "output_tokens": 2}, TokenUsage(input_tokens=1, output_tokens=2)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, TokenUsage(input_tokens=0, output_tokens=0)),
        ({"prompt_tokens": 5}, None),
        ({"input_tokens": -1, "output_tokens": 2}, None),
        ({"input_tokens": True, "output_tokens": 2}, None),
        ({"input_tokens": 10**30, "output_tokens": 2}, None),
        ({}, None), (None, None), ("12", None), ([1], None),
    ],
)  # fmt: skip
def test_every_spelling(raw: Any, want: TokenUsage | None) -> None:
    """Input has what was read from and written to a cache in it; what is no count is none."""
    assert usage_of(raw) == want


def test_usage_is_no_content() -> None:
    """The same answer with other figures, or none, is a duplicate and no revision."""
    with_it = trace(openai(usage=OPENAI))
    assert with_it.usage is not None
    assert with_it.digest == trace(openai(usage={"prompt_tokens": "many"})).digest
    own = trace(native(usage={"input_tokens": 3, "output_tokens": 1}))
    assert own.usage == TokenUsage(input_tokens=3, output_tokens=1)
    assert own.digest == trace(native()).digest

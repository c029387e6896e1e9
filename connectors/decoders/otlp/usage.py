"""Tokens of a call as all conventions name them, counted one way: what a cache gave is of the input."""

from collections.abc import Mapping
from typing import Any

from policies.records import TokenUsage

_NAMES = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "output_tokens": (
        "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion",
    ),
    "cache_read_tokens": (
        "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens", "llm.token_count.prompt_details.cache_write",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
    ),
}  # fmt: skip
MOST = 1 << 40


def usage_of(attributes: Mapping[str, Any]) -> TokenUsage | None:
    """What the call used; None where the span does not say both sides.

    Anthropic counts its input without what caches gave, the conventions with it: where the input is less than
    that, it is without, and both are added.
    """
    found = {name: _first(attributes, keys) for name, keys in _NAMES.items()}
    counts = {name: count for name, count in found.items() if count is not None}
    cached = counts.get("cache_read_tokens", 0) + counts.get("cache_write_tokens", 0)
    if "input_tokens" not in counts or "output_tokens" not in counts:
        return None
    if counts["input_tokens"] < cached:
        counts["input_tokens"] += cached
    return TokenUsage(**counts)


def _first(attributes: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = attributes.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST:
            return value
    return None

"""What a call used, as providers count it, made comparable.

OpenAI's and OpenTelemetry's input tokens include those read from a cache; Anthropic's `input_tokens` leaves
out both what was read from a cache and what was written to it. Here they are always included.
"""

from collections.abc import Mapping
from typing import Any

from policies.records import TokenUsage

MOST = 10**12
"""A count beyond it is no count."""
_INPUT = ("input_tokens", "prompt_tokens")
_OUTPUT = ("output_tokens", "completion_tokens")
_IN_DETAIL = ("input_tokens_details", "prompt_tokens_details")
_OUT_DETAIL = ("output_tokens_details", "completion_tokens_details")
_CACHED = ("cache_read_input_tokens", "cache_creation_input_tokens")


def usage_of(raw: Any) -> TokenUsage | None:
    """The usage of one call; None where it does not say both sides. An odd count costs no event."""
    if not isinstance(raw, Mapping):
        return None
    read, written = (_count(raw, key) or 0 for key in _CACHED)
    given, made = _first(raw, _INPUT), _first(raw, _OUTPUT)
    if given is None or made is None:
        return None
    inner, outer = _detail(raw, _IN_DETAIL), _detail(raw, _OUT_DETAIL)
    # LiteLLM repeats Anthropic's two keys beside OpenAI's spelling, whose total has them in it already.
    apart = "prompt_tokens" not in raw and not inner
    return TokenUsage(
        input_tokens=min(given + (read + written if apart else 0), MOST),
        output_tokens=made,
        cache_read_tokens=read or _count(inner, "cached_tokens") or 0,
        cache_write_tokens=written or _count(inner, "cache_creation_tokens") or 0,
        reasoning_tokens=_count(outer, "reasoning_tokens") or 0,
    )


def _first(raw: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((found for key in keys if (found := _count(raw, key)) is not None), None)


def _detail(raw: Mapping[str, Any], keys: tuple[str, ...]) -> Mapping[str, Any]:
    return next((raw[key] for key in keys if isinstance(raw.get(key), Mapping)), {})


def _count(raw: Mapping[str, Any], key: str) -> int | None:
    value = raw.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST else None

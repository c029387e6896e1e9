"""Spans of a tracing system: those without a call of a model are skipped, those with one are refused."""

from typing import Any

import pytest

from connectors.decoders.spans import MOST_SPANS
from connectors.errors import DecodeError, UnknownFormatError
from connectors.events import Skipped, SkipReason
from tests.connectors.decoders.test_decoders import decode, reason, skipped

OTHER = {"name": "GET /", "attributes": [{"key": "http.route", "value": {"stringValue": "/"}}]}
CALL = {"name": "chat m", "attributes": [{"key": "gen_ai.usage.input_tokens", "value": {"intValue": "209"}}]}


def batch(*spans: Any) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def alone(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"traceId": "aa", "spanId": "bb", "attributes": attributes}


def test_each_span_of_a_batch_stands_for_itself() -> None:
    """Most are no calls; one that is says what to log, and none speaks against the decoder."""
    found = decode(batch(OTHER, CALL, {}, 7))
    assert [isinstance(each, Skipped) for each in found] == [True, False, True, True]
    assert "log requests with their responses" in str(found[1])
    assert not any(isinstance(each, UnknownFormatError) for each in found)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.route": "/"},
        {"openinference.span.kind": "CHAIN", "input.value": "7?", "output.value": "In transit."},
        {"openinference.span.kind": "AGENT", "llm.model_name": "m"},
    ],
)
def test_a_span_without_a_call_is_skipped(attributes: dict[str, Any]) -> None:
    """A chain and an agent only repeat what the model's own span says."""
    assert skipped(alone(attributes)) is SkipReason.NO_MODEL_CALL


@pytest.mark.parametrize(
    "attributes",
    [{"gen_ai.prompt.0.content": "7?"}, {"openinference.span.kind": "LLM"}, {"llm.model_name": "m"}],
)
def test_a_span_with_a_call_is_refused(attributes: dict[str, Any]) -> None:
    """As known, and not read."""
    (found,) = decode(alone(attributes))
    assert isinstance(found, DecodeError)
    assert not isinstance(found, UnknownFormatError)


def test_too_many_spans_are_one_dead_letter() -> None:
    """And a batch of none holds no event."""
    assert f"more than {MOST_SPANS} spans" in reason(batch(*[{}] * (MOST_SPANS + 1)))
    assert "holds no event" in reason(batch())

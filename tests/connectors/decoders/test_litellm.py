"""LiteLLM's StandardLoggingPayload: every call that goes through the gateway, whichever interface it used."""

import json
from typing import Any

import pytest

from connectors.decoders.detect import Decoders
from connectors.events import SkipReason
from policies.records import Message, TokenUsage, ToolCall, Trace
from tests.conftest import ROOT
from tests.connectors.decoders.test_decoders import decode, reason, skipped, trace

REAL = ROOT.parent / "shared" / "data" / "agent_logs" / "litellm_standard_logging_payload.json"
ASKED = [{"role": "user", "content": "Where is parcel 7?"}]


def payload(**keys: Any) -> dict[str, Any]:
    """A payload in the shape of the real one, as far as it matters."""
    response = {
        "id": "chatcmpl-1", "created": 1_600_000_000, "model": "agent-7", "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": "In Ulm.", "tool_calls": None,
                                 "provider_specific_fields": {"refusal": None}}}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3},
    }  # fmt: skip
    return {
        "id": "chatcmpl-1", "litellm_call_id": "c-1", "call_type": "acompletion", "status": "success",
        "trace_id": "sess-1", "session_id": "", "startTime": 1_700_000_000.25, "endTime": 1_700_000_001.5,
        "model": "live", "model_group": "", "end_user": None, "request_tags": ["prod", "team:blue"],
        "metadata": {"requester_metadata": {"ticket": 4711}, "user_api_key_end_user_id": None},
        "model_parameters": {"user": "u-7", "tools": [{"type": "function", "function": {"name": "track"}}]},
        "messages": ASKED, "response": response, **keys,
    }  # fmt: skip


def test_a_payload() -> None:
    """Under the gateway's ids, by the model that answered."""
    found = trace(payload())
    assert (found.id, found.ts, found.model) == ("chatcmpl-1", 1_700_000_001.5, "agent-7")
    assert (found.session, found.subject) == ("sess-1", "u-7")
    assert found.tags == {
        "requested_model": "live", "ticket": "4711", "prod": "true", "team": "blue", "finish_reason": "stop",
    }  # fmt: skip
    assert found.usage == TokenUsage(input_tokens=12, output_tokens=3)
    assert found.tools == ({"type": "function", "function": {"name": "track"}},)
    assert [each.content for each in found.messages + found.output] == ["Where is parcel 7?", "In Ulm."]


@pytest.mark.parametrize("form", ["object", "array", "lines", "fields as JSON text"])
def test_every_form(form: str) -> None:
    """One, an array of them, one a line, or with its long fields as text, as tables have them."""
    one = payload()
    other = payload(id="chatcmpl-2", response={**one["response"], "id": "chatcmpl-2"})
    text = payload(messages=json.dumps(ASKED), response=json.dumps(one["response"]))
    value: Any = {
        "object": one, "array": [one, other], "lines": f"{json.dumps(one)}\n{json.dumps(other)}".encode(),
        "fields as JSON text": text,
    }[form]  # fmt: skip
    found = decode(value)
    assert found[0] == trace(one)
    assert [each.id for each in found[1:] if isinstance(each, Trace)] == ["chatcmpl-2"] * (len(found) - 1)
    assert len(found) == (2 if form in ("array", "lines") else 1)


@pytest.mark.parametrize(
    ("messages", "response", "prompt"),
    [
        (ASKED, {"id": "m", "type": "message", "role": "assistant", "stop_reason": "end_turn",
                 "content": [{"type": "text", "text": "In Ulm."}]}, ["Where is parcel 7?"]),
        ("Where is parcel 7?", {"id": "r", "object": "response", "status": "completed", "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "In Ulm."}]}
        ]}, ["Where is parcel 7?"]),
        (ASKED, {"id": "t", "object": "text_completion", "choices": [{"text": "In Ulm."}]},
         ["Where is parcel 7?"]),
        (ASKED, "In Ulm.", ["Where is parcel 7?"]),
        (ASKED, {"text": "In Ulm."}, ["Where is parcel 7?"]),
    ],
)  # fmt: skip
def test_every_interface(messages: Any, response: Any, prompt: list[str]) -> None:
    """What was called decides what the payload holds."""
    found = trace(payload(messages=messages, response=response))
    assert [each.content for each in found.messages] == prompt
    assert [each.content for each in found.output] == ["In Ulm."]
    assert found.model == ("live" if "model" not in response else "agent-7")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"status": "failure", "response": {}, "error_str": "429"}, SkipReason.ERROR),
        ({"status": "failure", "response": None}, SkipReason.ERROR),
        ({"response": {"error": {"message": "x"}}}, SkipReason.ERROR),
        ({"response": None}, SkipReason.EMPTY),
        ({"call_type": "aembedding", "response": {"data": [{"embedding": [0.1]}]}}, SkipReason.EMPTY),
        ({"call_type": "image_generation"}, SkipReason.EMPTY),
    ],
)
def test_what_is_no_answer(keys: dict[str, Any], why: SkipReason) -> None:
    """Is skipped by its reason."""
    assert skipped(payload(**keys)) is why


REDACTED = "redacted-by-litellm"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"messages": [{"role": "user", "content": REDACTED}]}, "`messages[0]` is redacted"),
        ({"messages": REDACTED}, "`messages[0]` is redacted"),
        (
            {"response": {"text": REDACTED}},
            "is redacted ('redacted-by-litellm'): its content is not in the log",
        ),
        ({"response": {"choices": [{"message": {"content": REDACTED}}]}}, "`response.choices[0].message` is"),
        ({"messages": [{"role": "user", "content": "default-message-value"}]}, "`messages[0]` is redacted"),
        ({"response": {"text": "In U... (litellm_truncated 400 chars) ..."}}, "was cut short by LiteLLM"),
        ({"messages": None}, "`messages` must be a list"),
        ({"response": 5}, "`response` must be an object or text"),
        ({"response": {"object": "chat.completion"}}, "`response.choices` must be a list"),
        ({"messages": '[{"role"'}, "`messages` is text that holds JSON and cannot be read"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], words: str) -> None:
    """What stands in place of a text by its name; nothing speaks against the decoder."""
    assert words in reason(payload(**keys))
    assert words in reason(payload(**keys), "litellm")


def test_a_prompt_that_was_cut_is_incomplete() -> None:
    """By the gateway's own words in it, or because the provider has the rest."""
    long = "Once upon a ... (litellm_truncated skipped 4000 chars) ... end"
    assert trace(payload(messages=[{"role": "user", "content": long}])).incomplete
    kept = {"previous_response_id": "resp_0"}
    assert trace(payload(model_parameters=kept)).incomplete
    assert not trace(payload()).incomplete


@pytest.mark.parametrize("form", ["object", "array", "lines"])
@pytest.mark.skipif(not REAL.exists(), reason=f"no {REAL}: the written payloads above stay")
def test_a_real_payload(form: str) -> None:
    """As LiteLLM itself wrote it."""
    one = json.loads(REAL.read_text(encoding="utf-8"))
    lines = f"{json.dumps(one)}\n{json.dumps(one)}"
    raw = {"object": REAL.read_text(encoding="utf-8"), "array": json.dumps([one]), "lines": lines}[form]
    outcomes = Decoders().outcomes(raw.encode(), source="s", timestamp=5.0)
    assert {each.decoder for each in outcomes} == {"litellm"}
    found = outcomes[0].result
    assert isinstance(found, Trace)
    assert (found.id, found.ts) == ("chatcmpl-DLVlwDcxt92QTOPrxucH9tuwPXJ3g", 1795217105.301401)
    assert (found.model, found.session, found.subject) == ("gpt-4.1-nano-2025-04-14", "sess-42", "u-7")
    assert found.tags == {"requested_model": "agent-live", "prod": "true", "finish_reason": "stop"}
    call = ToolCall(name="add", arguments={"a": 45, "b": 79}, id="call_Qm51xgE57uzoj2f6qkZAWwb4")
    assert found.messages == (
        Message(role="system", content="You are a calculator."),
        Message(role="user", content="What is 45+79?"),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="124", tool_call_id=call.id, name="add"),
    )
    assert found.output == (Message(role="assistant", content="The sum of 45 plus 79 is 124."),)
    assert found.usage == TokenUsage(input_tokens=189, output_tokens=13)
    assert [tool["function"]["name"] for tool in found.tools] == ["add"]

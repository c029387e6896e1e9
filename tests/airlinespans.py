"""The airline agent's conversations as an instrumented agent would have sent them: OTLP spans.

A conversation is one trace. Its root names the session and the customer; each turn of the agent is a call of
the model, with all that went before. The call's convention is the GenAI one.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.airline import Trial, Turn, tools

START_NS = 1_716_000_000_000_000_000
SECOND_NS = 1_000_000_000


def requests(found: Sequence[Trial]) -> Iterator[bytes]:
    """A request a conversation, in protobuf; its spans in the order in which they ended: the root last."""
    offered = json.dumps([tool["function"] | {"type": "function"} for tool in tools(found)])
    for trial in found:
        request = ExportTraceServiceRequest()
        spans = request.resource_spans.add().scope_spans.add().spans
        parts = [json.dumps(_message(turn)) for turn in trial.turns]
        for index, turn in enumerate(trial.turns):
            if turn["role"] == "assistant":
                attributes = {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.response.model": "gpt-4o",
                    "gen_ai.response.id": trial.event(index),
                    "gen_ai.input.messages": f"[{', '.join(parts[:index])}]",
                    "gen_ai.output.messages": f"[{parts[index]}]",
                    "gen_ai.tool.definitions": offered,
                }
                _add(spans, trial, index + 2, 1, attributes)
        root = {"session.id": f"talk-{trial.task}-{trial.number}", "user.id": f"customer-{trial.task}"}
        _add(spans, trial, 1, None, root)
        yield request.SerializeToString()


def _add(spans: Any, trial: Trial, number: int, parent: int | None, attributes: dict[str, str]) -> None:
    span = spans.add()
    span.trace_id = (trial.task * 100 + trial.number + 1).to_bytes(16, "big")
    span.span_id = number.to_bytes(8, "big")
    span.parent_span_id = b"" if parent is None else parent.to_bytes(8, "big")
    span.name = "chat gpt-4o" if parent else "talk"
    span.start_time_unix_nano = START_NS + number * SECOND_NS
    span.end_time_unix_nano = START_NS + (number if parent else 1000) * SECOND_NS
    for key, text in attributes.items():
        pair = span.attributes.add()
        pair.key, pair.value.string_value = key, text


def _message(turn: Turn) -> dict[str, Any]:
    """A turn as the conventions have it: of parts."""
    if turn["role"] == "tool":
        part = {
            "type": "tool_call_response", "id": turn["tool_call_id"], "name": turn["name"],
            "response": turn["content"],
        }  # fmt: skip
        return {"role": "tool", "parts": [part]}
    parts = [{"type": "text", "content": turn["content"]}] if turn["content"] else []
    for call in turn.get("tool_calls") or ():
        arguments = json.loads(call["function"]["arguments"])
        parts.append(
            {"type": "tool_call", "id": call["id"], "name": call["function"]["name"], "arguments": arguments}
        )
    return {"role": turn["role"], "parts": parts}

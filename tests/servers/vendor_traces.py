"""Whole traces as vendors' own models write them: run in an environment that has the vendors' packages.

`python vendor_traces.py` prints one JSON object: a trace of the same doings by each vendor's name. An agent
is asked for a parcel, calls its model, runs a tool, and calls its model again.
"""

import datetime as dt
import json
import sys
import typing
import uuid
from typing import Any

QUESTION, RESULT, ANSWER = "Where is parcel 7?", "in Ulm", "It is in Ulm."
SYSTEM = "Be brief."
START = dt.datetime(2026, 11, 20, 12, 0, 0, tzinfo=dt.UTC)
CALL = {"id": "call_1", "type": "function", "function": {"name": "track", "arguments": '{"n": 7}'}}
TOOLS = [{"type": "function", "function": {"name": "track", "parameters": {"type": "object"}}}]
ASKED = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
AGAIN = [*ASKED, CALLED, {"role": "tool", "tool_call_id": "call_1", "content": RESULT}]
SAID = {"role": "assistant", "content": ANSWER}


def at(second: int) -> dt.datetime:
    return START + dt.timedelta(seconds=second)


def langfuse() -> Any:
    """A page of observations, as the API answers them: inputs and outputs as its OpenAI wrapper has them."""
    from langfuse.api.observations.types.observations_v2meta import ObservationsV2Meta
    from langfuse.api.observations.types.observations_v2response import ObservationsV2Response

    def one(name: str, kind: str, second: int, **keys: Any) -> Any:
        from langfuse.api.commons.types.observation_v2 import ObservationV2

        parent = None if name == "agent" else "agent"
        return ObservationV2(
            id=name, trace_id="t-1", parent_observation_id=parent, project_id="p-1", name=name, type=kind,
            start_time=at(second), end_time=at(second + 1), user_id="u-7", session_id="s-1", version="v3",
            environment="production", **keys,
        )  # fmt: skip

    usage = {"input": 30, "input_cached_tokens": 70, "output": 9, "total": 109}
    model = {"model": "agent-7", "usage_details": usage}
    data = [
        one("agent", "AGENT", 0, input=QUESTION, output=ANSWER),
        one("first", "GENERATION", 1, input={"messages": ASKED, "tools": TOOLS}, output=CALLED, **model),
        one("track", "TOOL", 2, input={"n": 7}, output=RESULT),
        one("second", "GENERATION", 3, input={"messages": AGAIN, "tools": TOOLS}, output=SAID, **model),
        one("third", "GENERATION", 4, input=ASKED, level="ERROR", status_message="429"),
    ]
    return json.loads(ObservationsV2Response(data=data, meta=ObservationsV2Meta(cursor=None)).json())


def langsmith() -> Any:
    """A run with its children: the first call as LangChain keeps it, the second as its OpenAI wrapper."""
    from langsmith.schemas import Run

    def one(number: int, kind: str, inputs: Any, outputs: Any, **keys: Any) -> Any:
        return Run(
            id=uuid.UUID(int=number), trace_id=uuid.UUID(int=1), name=f"run {number}", run_type=kind,
            start_time=at(number), end_time=at(number + 1), inputs=inputs, outputs=outputs,
            session_id=uuid.UUID(int=99), dotted_order=f"20261120T12000{number}Z",
            parent_run_id=None if number == 1 else uuid.UUID(int=1), **keys,
        )  # fmt: skip

    def serialised(kind: str, **keys: Any) -> dict[str, Any]:
        path = ["langchain", "schema", "messages", kind]
        return {"lc": 1, "type": "constructor", "id": path, "kwargs": keys}

    called = serialised(
        "AIMessage", content="", tool_calls=[{"name": "track", "args": {"n": 7}, "id": "call_1"}],
        response_metadata={"model_name": "agent-7", "finish_reason": "tool_calls"},
    )  # fmt: skip
    told = [serialised("SystemMessage", content=SYSTEM), serialised("HumanMessage", content=QUESTION)]
    generations = [[{"text": "", "type": "ChatGeneration", "message": called,
                     "generation_info": {"finish_reason": "tool_calls"}}]]  # fmt: skip
    metadata = {"thread_id": "s-1", "user_id": "u-7", "ls_model_name": "live"}
    extra = {"metadata": metadata, "invocation_params": {"model": "live", "tools": TOOLS}}
    completion = {
        "id": "chatcmpl-2", "object": "chat.completion", "model": "agent-7",
        "choices": [{"index": 0, "finish_reason": "stop", "message": SAID}],
        "usage_metadata": {"input_tokens": 100, "output_tokens": 9, "total_tokens": 109,
                           "input_token_details": {"cache_read": 70}},
    }  # fmt: skip
    children = [
        one(2, "llm", {"messages": [told]}, {"generations": generations}, extra=extra,
            prompt_tokens=100, completion_tokens=9, prompt_token_details={"cache_read": 70}),
        one(3, "tool", {"n": 7}, {"output": RESULT}),
        one(4, "llm", {"model": "live", "messages": AGAIN, "tools": TOOLS}, completion,
            extra={"metadata": metadata}),
        one(5, "llm", {"messages": ASKED}, None, error="RateLimitError(429)"),
    ]  # fmt: skip
    root = one(1, "chain", {"question": QUESTION}, {"output": ANSWER}, child_runs=children)
    return json.loads(root.model_dump_json())


def phoenix() -> Any:
    """A page of spans, as the API answers them: OpenInference's attributes, with dotted keys."""
    from openinference.semconv.trace import (
        MessageAttributes,
        SpanAttributes,
        ToolAttributes,
        ToolCallAttributes,
    )
    from phoenix.client.__generated__ import v1

    def turn(prefix: str, number: int, role: str, text: str | None, **more: Any) -> dict[str, Any]:
        here = f"{prefix}.{number}"
        told = {f"{here}.{MessageAttributes.MESSAGE_ROLE}": role}
        told |= {} if text is None else {f"{here}.{MessageAttributes.MESSAGE_CONTENT}": text}
        return told | {f"{here}.{key}": value for key, value in more.items()}

    asked, answered = SpanAttributes.LLM_INPUT_MESSAGES, SpanAttributes.LLM_OUTPUT_MESSAGES
    call = f"{MessageAttributes.MESSAGE_TOOL_CALLS}.0"
    called = {
        f"{call}.{ToolCallAttributes.TOOL_CALL_ID}": "call_1",
        f"{call}.{ToolCallAttributes.TOOL_CALL_FUNCTION_NAME}": "track",
        f"{call}.{ToolCallAttributes.TOOL_CALL_FUNCTION_ARGUMENTS_JSON}": '{"n": 7}',
    }
    common = {
        SpanAttributes.LLM_MODEL_NAME: "agent-7",
        SpanAttributes.LLM_INVOCATION_PARAMETERS: '{"model": "live", "temperature": 0}',
        SpanAttributes.SESSION_ID: "s-1", SpanAttributes.USER_ID: "u-7",
        SpanAttributes.LLM_TOKEN_COUNT_PROMPT: 100, SpanAttributes.LLM_TOKEN_COUNT_COMPLETION: 9,
        SpanAttributes.LLM_TOKEN_COUNT_PROMPT_DETAILS_CACHE_READ: 70,
        f"{SpanAttributes.LLM_TOOLS}.0.{ToolAttributes.TOOL_JSON_SCHEMA}": json.dumps(TOOLS[0]),
        **turn(asked, 0, "system", SYSTEM), **turn(asked, 1, "user", QUESTION),
    }  # fmt: skip
    first = {
        **common, **turn(answered, 0, "assistant", None, **called),
        SpanAttributes.OUTPUT_VALUE: json.dumps({"choices": [{"finish_reason": "tool_calls"}]}),
    }  # fmt: skip
    result = {MessageAttributes.MESSAGE_TOOL_CALL_ID: "call_1"}
    second = {
        **common, **turn(asked, 2, "assistant", None, **called), **turn(asked, 3, "tool", RESULT, **result),
        **turn(answered, 0, "assistant", ANSWER),
        SpanAttributes.OUTPUT_VALUE: json.dumps({"choices": [{"finish_reason": "stop"}]}),
    }  # fmt: skip

    data = [
        _spanned(1, "AGENT", {SpanAttributes.INPUT_VALUE: QUESTION, SpanAttributes.OUTPUT_VALUE: ANSWER}),
        _spanned(2, "LLM", first),
        _spanned(3, "TOOL", {SpanAttributes.INPUT_VALUE: '{"n": 7}', SpanAttributes.OUTPUT_VALUE: RESULT}),
        _spanned(4, "LLM", second),
        _spanned(5, "LLM", common, "ERROR"),
    ]
    return of(v1.SpansResponseBody, {"data": data, "next_cursor": None})


def _spanned(number: int, kind: str, attributes: dict[str, Any], status: str = "OK") -> dict[str, Any]:
    """The first span is the parent of the others."""
    from openinference.semconv.trace import SpanAttributes
    from phoenix.client.__generated__ import v1

    parent = {} if number == 1 else {"parent_id": "1"}
    span = {
        "id": f"U3Bhbjo{number}", "name": f"span {number}", "span_kind": kind, **parent,
        "context": of(v1.SpanContext, {"trace_id": "t-1", "span_id": str(number)}), "status_code": status,
        "start_time": at(number).isoformat(), "end_time": at(number + 1).isoformat(),
        "attributes": {SpanAttributes.OPENINFERENCE_SPAN_KIND: kind, **attributes}, "events": [],
    }  # fmt: skip
    return of(v1.Span, span)


def of(shape: Any, value: dict[str, Any]) -> dict[str, Any]:
    """The value, which has the keys of a typed dictionary. Raises TypeError where it has not."""
    hints = typing.get_type_hints(shape, include_extras=True)
    needed = {key for key, hint in hints.items() if typing.get_origin(hint) is not typing.NotRequired}
    if value.keys() - hints.keys() or needed - value.keys():
        raise TypeError(f"{shape.__name__} has other keys than {sorted(value)}")
    return value


if __name__ == "__main__":
    json.dump({made.__name__: made() for made in (langfuse, langsmith, phoenix)}, sys.stdout)

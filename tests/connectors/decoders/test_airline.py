"""Two hundred whole conversations with tools, logged in every format: each decodes to what was said."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from connectors.decoders.detect import Decoders
from policies.records import Trace
from tests.airline import FILE, Trial, events, trials

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"no {FILE}: the written cases beside it stay")


@cache
def conversations() -> list[Trial]:
    return trials()


def openai_chat(pair: dict[str, Any]) -> dict[str, Any]:
    return pair


def streamed(pair: dict[str, Any]) -> dict[str, Any]:
    """The answer in pieces of seven characters, as raw event-stream text."""
    (choice,) = pair["response"]["choices"]
    told, head = choice["message"], {key: pair["response"][key] for key in ("id", "created", "model")}
    text = told.get("content") or ""
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    deltas += [{"content": text[at : at + 7]} for at in range(0, len(text), 7)]
    for at, call in enumerate(told.get("tool_calls") or ()):
        deltas.append({"tool_calls": [{"index": at, "id": call["id"], "function": {
            "name": call["function"]["name"], "arguments": ""}}]})  # fmt: skip
        given = call["function"]["arguments"]
        deltas += [{"tool_calls": [{"index": at, "function": {"arguments": given[n : n + 7]}}]}
                   for n in range(0, len(given), 7)]  # fmt: skip
    made = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    made.append({"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]})
    text = "".join(f"data: {json.dumps({**head, 'choices': [each]})}\n\n" for each in made)
    return {"request": json.dumps(pair["request"]), "response": text + "data: [DONE]\n\n"}


def anthropic(pair: dict[str, Any]) -> dict[str, Any]:
    request = pair["request"]
    system, turns = "", list[dict[str, Any]]()
    for turn in request["messages"]:
        if turn["role"] == "system":
            system = turn["content"]
        elif turn["role"] == "tool":
            result = {"type": "tool_result", "tool_use_id": turn["tool_call_id"], "content": turn["content"]}
            turns.append({"role": "user", "content": [result]})
        else:
            turns.append({"role": turn["role"], "content": _blocks(turn)})
    (choice,) = pair["response"]["choices"]
    tools = [
        {**tool["function"], "input_schema": tool["function"]["parameters"]} for tool in request["tools"]
    ]
    for tool in tools:
        del tool["parameters"]
    ended = {"stop": "end_turn", "tool_calls": "tool_use"}[choice["finish_reason"]]
    return {
        "ts": pair["response"]["created"],
        "request": {"model": "x", "system": system, "messages": turns, "tools": tools,
                    "metadata": {"user_id": request["user"]}},
        "response": {"id": pair["response"]["id"], "type": "message", "role": "assistant",
                     "model": pair["response"]["model"], "content": _blocks(choice["message"]),
                     "stop_reason": ended},
    }  # fmt: skip


def _blocks(turn: dict[str, Any]) -> list[dict[str, Any]]:
    text = [{"type": "text", "text": turn["content"]}] if turn.get("content") else []
    return text + [
        {"type": "tool_use", "id": call["id"], "name": call["function"]["name"],
         "input": json.loads(call["function"]["arguments"])}
        for call in turn.get("tool_calls") or ()
    ]  # fmt: skip


def openai_responses(pair: dict[str, Any]) -> dict[str, Any]:
    request = pair["request"]
    items = [item for turn in request["messages"] if turn["role"] != "system" for item in _items(turn)]
    (choice,) = pair["response"]["choices"]
    tools = [{"type": "function", **tool["function"]} for tool in request["tools"]]
    return {
        "request": {"model": "x", "instructions": request["messages"][0]["content"], "input": items,
                    "tools": tools, "user": request["user"]},
        "response": {"id": pair["response"]["id"], "object": "response", "status": "completed",
                     "created_at": pair["response"]["created"], "model": pair["response"]["model"],
                     "output": list(_items(choice["message"]))},
    }  # fmt: skip


def _items(turn: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if turn["role"] == "tool":
        yield {"type": "function_call_output", "call_id": turn["tool_call_id"], "output": turn["content"]}
        return
    if turn.get("content"):
        kind = "output_text" if turn["role"] == "assistant" else "input_text"
        yield {"role": turn["role"], "content": [{"type": kind, "text": turn["content"]}]}
    for call in turn.get("tool_calls") or ():
        yield {"type": "function_call", "call_id": call["id"], **call["function"]}


def litellm(pair: dict[str, Any]) -> dict[str, Any]:
    request = pair["request"]
    return {
        "id": pair["response"]["id"], "call_type": "completion", "status": "success", "model": "x",
        "endTime": pair["response"]["created"], "messages": request["messages"], "response": pair["response"],
        "model_parameters": {"tools": request["tools"], "user": request["user"]},
    }  # fmt: skip


FORMATS = (openai_chat, streamed, anthropic, openai_responses, litellm)


def last_of(trial: Trial) -> dict[str, Any]:
    """The pair of the agent's last turn, whose prompt is all of the conversation before it."""
    return list(events([trial]))[-1]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.__name__)
def test_whole_conversations(form: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Every turn with its text, calls, results and their ties; the answer, its tools, who asked, and when."""
    decoders, seen = Decoders(), 0
    for trial in conversations():
        pair = last_of(trial)
        raw = json.dumps(form(pair)).encode()
        (outcome,) = decoders.outcomes(raw, source="s", timestamp=5.0)
        name = "openai_chat" if form is streamed else form.__name__
        assert (outcome.decoder, type(outcome.result)) == (name, Trace), str(outcome.result)
        found = outcome.result
        assert isinstance(found, Trace)
        turns = [*pair["request"]["messages"], pair["response"]["choices"][0]["message"]]
        assert [_said(turn) for turn in turns] == [
            (each.role, each.content, [(call.id, call.name, call.arguments) for call in each.tool_calls],
             each.tool_call_id)
            for each in found.messages + found.output
        ]  # fmt: skip
        assert (found.id, found.ts) == (pair["response"]["id"], float(pair["response"]["created"]))
        assert (found.model, found.subject) == ("gpt-4o", f"customer-{trial.task}")
        assert [dict(tool) for tool in found.tools] == pair["request"]["tools"]
        assert {found.truncated, found.unshown, found.incomplete} == {False}
        seen += 1
    assert seen == len(conversations()) == 200


def _said(turn: dict[str, Any]) -> tuple[Any, ...]:
    calls = [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in turn.get("tool_calls") or ()
    ]
    return turn["role"], turn.get("content") or "", calls, turn.get("tool_call_id")

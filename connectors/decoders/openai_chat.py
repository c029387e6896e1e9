"""OpenAI chat request and response pairs: `{"request": {"messages": …}, "response": {chat completion}}`.

Each choice of the response is a trace; its id is the response's (`id#1` for a second choice). `model` is the
one the response names. `request.user` (or `safety_identifier`) is the subject, `request.metadata` becomes
tags. Usage is ignored: it says nothing about quality. A choice that ended at a limit of length is truncated,
and so is one that is nothing but a thought.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from connectors.decoders.chat import answer_of, cut_off, first_problem, messages_of
from connectors.decoders.native import identity, moment
from connectors.decoders.tools import definitions, tied
from connectors.errors import DecodeError
from policies.records import Message, Trace


class OpenAIChat:
    """The decoder of logged calls to `chat.completions`."""

    name = "openai_chat"

    def matches(self, payload: Any) -> bool:
        """Whether it is a pair of which the request has messages."""
        if not isinstance(payload, dict):
            return False
        request = payload.get("request")
        return isinstance(request, dict) and "messages" in request and "response" in payload

    def decode(self, payload: Any, *, source: str, timestamp: float | None) -> list[Trace]:
        """One trace a choice. Raises DecodeError naming what is wrong."""
        if not isinstance(payload, dict):
            raise DecodeError("an event must be an object")
        request, response = (_object(payload, key) for key in ("request", "response"))
        choices = _choices(response)
        own = identity(response.get("id", payload.get("id")), payload)
        common = {
            "source": source,
            "ts": moment(response.get("created"), timestamp),
            "model": response.get("model"),
            "subject": request.get("user", request.get("safety_identifier")),
            "tools": definitions(request.get("tools") or request.get("functions")),
        }
        prompt = messages_of(request.get("messages"), "request.messages")
        metadata = request.get("metadata")
        tags = {**metadata} if isinstance(metadata, Mapping) else {}
        traces: list[Trace] = []
        for index, choice in enumerate(choices):
            name = own if index == 0 else f"{own}#{index}"
            fields = common | _answered(prompt, choice, tags, f"response.choices[{index}]")
            fields["truncated"] |= response.get("status") == "incomplete"
            try:
                traces.append(Trace(id=name, **fields))
            except ValidationError as error:
                raise DecodeError(first_problem(error)) from None
        return traces


def _answered(
    prompt: tuple[Message, ...], choice: Any, tags: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """What one choice says: the conversation, whether it is whole, and how it ended as a tag."""
    if not isinstance(choice, Mapping):
        raise DecodeError(f"`{where}` must be an object")
    output = answer_of([choice.get("message")], f"{where}.message", role="assistant")
    finish = choice.get("finish_reason")
    ended = {"finish_reason": finish} if isinstance(finish, str) else {}
    messages, answer = tied(prompt, output)
    return {
        "messages": messages,
        "output": answer,
        "tags": {**tags, **ended},
        "truncated": cut_off(output, finish),
    }


def _object(payload: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = payload.get(key)
    if not isinstance(value, Mapping):
        raise DecodeError(f"`{key}` must be an object")
    return value


def _choices(response: Mapping[str, Any]) -> list[Any]:
    if response.get("error"):
        raise DecodeError("the response is an error, not an answer")
    if response.get("object") == "chat.completion.chunk":
        raise DecodeError("the response is one chunk of a stream: log the assembled completion")
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices:
        raise DecodeError("`response.choices` must be a list with at least one choice")
    return choices

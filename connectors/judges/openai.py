"""A judge behind OpenAI's chat completions, or any server that speaks them (vLLM, a gateway, a proxy)."""

import math
from collections.abc import Mapping
from typing import Any

from connectors.base import JudgeReply, JudgeRequest, TokenChoice, Usage
from connectors.errors import PoisonError, TransientError, UnreadableError
from connectors.judges.dialect import Dialect
from connectors.judges.sdk import Sdk, SdkJudge
from connectors.judges.usage import estimated, served, summed, tokens
from connectors.refusals import masked
from policies.judging.grammar import is_cut_off

BROKEN_OFF = frozenset({"error", "abort", "cancelled"})
"""How servers say that they, and not the model, ended an answer."""
SPOKEN = frozenset({"text", "output_text"})
"""Parts of a content that are the answer."""
THOUGHTS = ("reasoning_content", "reasoning")
"""Where some servers put all that a model wrote, also where it did not think."""


class OpenAIJudge(SdkJudge):
    """A Judge over chat completions."""

    path = "/chat/completions"
    home = "https://api.openai.com/v1"

    def _connect(self, api_key: str) -> Sdk:
        from openai import (
            APIConnectionError,
            APIStatusError,
            APITimeoutError,
            AsyncOpenAI,
            DefaultAioHttpClient,
        )

        client = AsyncOpenAI(
            api_key=api_key,
            base_url=self._base_url,
            max_retries=0,
            timeout=self._deadline_s,
            http_client=DefaultAioHttpClient(trust_env=False, follow_redirects=False),
        )
        return Sdk(client, APIConnectionError, APIStatusError, APITimeoutError)

    def _first_dialect(self, *, own: bool, structured: bool) -> Dialect:
        # OpenAI's newer models refuse the old name of the limit, other servers may not know the new one.
        return Dialect(
            limit="max_completion_tokens" if own else "max_tokens",
            form="json_schema" if structured else "none",
        )

    def _body(self, request: JudgeRequest, dialect: Dialect) -> dict[str, Any]:
        messages = [{"role": "system", "content": request.system}]
        messages += [{"role": each.role, "content": each.content} for each in request.messages]
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            dialect.limit: request.max_tokens,
        }
        if request.temperature is not None and dialect.temperature:
            body["temperature"] = request.temperature
        if request.logprobs and dialect.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": dialect.top_logprobs}
        if request.schema is not None and dialect.form == "json_schema":
            schema = {"name": "judgement", "strict": True, "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif request.schema is not None and dialect.form == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _reply(self, body: dict[str, Any], response: dict[str, Any], latency_s: float) -> JudgeReply:
        choice = _first(response.get("choices"))
        message = choice.get("message")
        finish_reason = str(choice.get("finish_reason") or "")
        self._refuse(response, choice, finish_reason)
        if not isinstance(message, Mapping):
            error = UnreadableError(f"judge {self.name}: the response is no chat completion")
            raise served(error, response, *_stated(response.get("usage")))
        text = _text(message, finish_reason)
        return JudgeReply(
            text=text,
            model=str(response.get("model") or self.model),
            finish_reason=finish_reason,
            usage=_usage(response.get("usage"), body, message, finish_reason),
            latency_s=latency_s,
            request=body,
            response=response,
            tokens=_tokens(choice.get("logprobs")),
        )

    def _refuse(self, response: dict[str, Any], choice: Mapping[str, Any], finish_reason: str) -> None:
        """Raises where the body says that there is no answer: an error, one that broke off, a refusal."""
        read, written = _stated(response.get("usage"))
        said = response.get("error") or choice.get("error")
        if not said and (response.get("object") == "error" or (not choice and response.get("base_resp"))):
            said = response
        if said or finish_reason in BROKEN_OFF:
            error = self._failure_in(response, said) if said else None
            if error is None:
                error = TransientError(f"judge {self.name}: the answer broke off ({finish_reason})")
            raise served(error, response, read, written) if read or written else error
        message = choice.get("message")
        refusal = message.get("refusal") if isinstance(message, Mapping) else None
        if refusal or finish_reason == "content_filter":
            why = masked(str(refusal or finish_reason), self._asked.secrets)[:200]
            poison = PoisonError(f"judge {self.name}: refused: {why}")
            raise served(poison, response, read, written)


def _first(choices: object) -> Mapping[str, Any]:
    found = choices[0] if isinstance(choices, list) and choices else None
    return found if isinstance(found, Mapping) else {}


def _text(message: Mapping[str, Any], finish_reason: str) -> str:
    """What the model answered: text, or the text among parts, thoughts left out. Where there is none, an
    object in a field of thoughts: servers that take a model for a reasoning one put its whole answer there.
    """
    text = _joined(message.get("content"))
    if text.strip() or is_cut_off(finish_reason):
        return text
    for name in THOUGHTS:
        thought = message.get(name)
        if isinstance(thought, str) and thought.strip().startswith(("{", "```")):
            return thought
    return text


def _joined(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [
        part for part in content if isinstance(part, Mapping) and part.get("type") in {"text", "output_text"}
    ]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _tokens(logprobs: object) -> tuple[TokenChoice, ...]:
    """The generated tokens with their alternatives; none where they are missing or not of the known form."""
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(content, list) or not all(isinstance(each, Mapping) for each in content):
        return ()
    return tuple(
        TokenChoice(str(each.get("token")), _alternatives(each.get("top_logprobs"))) for each in content
    )


def _alternatives(top: object) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for each in top if isinstance(top, list) else ():
        value = each.get("logprob") if isinstance(each, Mapping) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[str(each.get("token"))] = float(value)
    return found


def _stated(usage: object) -> tuple[int | None, int | None]:
    """Tokens read and written, as far as the response says. What the total holds beyond both was written:
    some count thoughts nowhere else.
    """
    if not isinstance(usage, Mapping):
        return None, None
    read, written = tokens(usage.get("prompt_tokens")), tokens(usage.get("completion_tokens"))
    total = summed(usage, ("total_tokens",))
    if total is not None and read is not None:
        written = max(written or 0, total - read)
    return read, written


def _usage(usage: object, body: Mapping[str, Any], message: Mapping[str, Any], finish_reason: str) -> Usage:
    """What is billed; what is not stated is estimated: of an answer that was cut off, as its limit."""
    read, written = _stated(usage)
    if read is None:
        read = estimated(sum(len(each["content"]) for each in body["messages"]))
    if written is None and is_cut_off(finish_reason):
        written = body.get("max_tokens") or body.get("max_completion_tokens")
    if written is None:
        said = [_joined(message.get("content")), *(message.get(name) for name in THOUGHTS)]
        written = estimated(sum(len(each) for each in said if isinstance(each, str)))
    return Usage(read, written)

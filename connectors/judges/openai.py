"""A judge behind OpenAI's chat completions, or any server that speaks them (vLLM, a gateway, a proxy)."""

from collections.abc import Mapping
from typing import Any

from connectors.base import JudgeReply, JudgeRequest, TokenChoice, Usage
from connectors.errors import PoisonError, TransientError
from connectors.judges.sdk import Sdk, SdkJudge

BASE_URL = "https://api.openai.com/v1"
TOP_LOGPROBS = 20
CHARS_PER_TOKEN = 3
"""For servers that report no usage: rather more tokens than fewer, as money is counted by them."""


class OpenAIJudge(SdkJudge):
    """A Judge over chat completions."""

    path = "/chat/completions"

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
            base_url=self._base_url or BASE_URL,
            max_retries=0,
            timeout=self._deadline_s,
            http_client=DefaultAioHttpClient(trust_env=False, follow_redirects=False),
        )
        return Sdk(client, APIConnectionError, APIStatusError, APITimeoutError)

    def _body(self, request: JudgeRequest) -> dict[str, Any]:
        messages = [{"role": "system", "content": request.system}]
        messages += [{"role": each.role, "content": each.content} for each in request.messages]
        # OpenAI's newer models refuse the old name of the limit, other servers may not know the new one.
        limit = "max_completion_tokens" if self._base_url is None else "max_tokens"
        body: dict[str, Any] = {"model": self.model, "messages": messages, limit: request.max_tokens}
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if request.schema is not None and self._structured:
            schema = {"name": "judgement", "strict": True, "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _reply(self, body: dict[str, Any], response: dict[str, Any], latency_s: float) -> JudgeReply:
        try:
            choice = response["choices"][0]
            message = choice["message"]
            text = message["content"] or ""
            finish_reason = str(choice.get("finish_reason") or "")
            refusal = message.get("refusal")
            tokens = _tokens(choice.get("logprobs"))
            usage = _usage(response.get("usage"), body, text)
        except (LookupError, TypeError, AttributeError, ValueError):
            raise TransientError(f"judge {self.name}: the response is no chat completion") from None
        if refusal or finish_reason == "content_filter":
            raise PoisonError(f"judge {self.name}: refused: {str(refusal or finish_reason)[:200]}")
        if not isinstance(text, str):
            raise TransientError(f"judge {self.name}: the response's content is no text")
        return JudgeReply(
            text=text,
            model=str(response.get("model") or self.model),
            finish_reason=finish_reason,
            usage=usage,
            latency_s=latency_s,
            request=body,
            response=response,
            tokens=tokens,
        )


def _tokens(logprobs: Mapping[str, Any] | None) -> tuple[TokenChoice, ...]:
    content = (logprobs or {}).get("content") or ()
    return tuple(
        TokenChoice(
            token=str(each["token"]),
            alternatives={str(top["token"]): float(top["logprob"]) for top in each["top_logprobs"]},
        )
        for each in content
    )


def _usage(usage: Mapping[str, Any] | None, body: dict[str, Any], text: str) -> Usage:
    if not usage:
        asked = sum(len(message["content"]) for message in body["messages"])
        return Usage(asked // CHARS_PER_TOKEN + 1, len(text) // CHARS_PER_TOKEN + 1)
    return Usage(max(0, int(usage["prompt_tokens"])), max(0, int(usage["completion_tokens"])))

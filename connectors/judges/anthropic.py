"""A judge behind Anthropic's messages. No token log-probabilities: scores are means of samples."""

from typing import Any

from connectors.base import JudgeReply, JudgeRequest, Usage
from connectors.errors import PoisonError, TransientError
from connectors.judges.sdk import Sdk, SdkJudge

BASE_URL = "https://api.anthropic.com"


class AnthropicJudge(SdkJudge):
    """A Judge over messages. Models before Claude 4.5 take no schema: set `structured` off for them."""

    path = "/v1/messages"

    def _connect(self, api_key: str) -> Sdk:
        from anthropic import (
            APIConnectionError,
            APIStatusError,
            APITimeoutError,
            AsyncAnthropic,
            DefaultAioHttpClient,
        )

        client = AsyncAnthropic(
            api_key=api_key,
            base_url=self._base_url or BASE_URL,
            max_retries=0,
            timeout=self._deadline_s,
            http_client=DefaultAioHttpClient(trust_env=False, follow_redirects=False),
        )
        return Sdk(client, APIConnectionError, APIStatusError, APITimeoutError)

    def _body(self, request: JudgeRequest) -> dict[str, Any]:
        system = {"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}
        body: dict[str, Any] = {
            "model": self.model,
            "system": [system],
            "messages": [{"role": each.role, "content": each.content} for each in request.messages],
            "max_tokens": request.max_tokens,
        }
        if request.temperature is not None:
            body["temperature"] = min(request.temperature, 1.0)
        if request.schema is not None and self._structured:
            body["output_config"] = {"format": {"type": "json_schema", "schema": dict(request.schema)}}
        return body

    def _reply(self, body: dict[str, Any], response: dict[str, Any], latency_s: float) -> JudgeReply:
        try:
            blocks = response["content"]
            text = "".join(block["text"] for block in blocks if block["type"] == "text")
            finish_reason = str(response.get("stop_reason") or "")
            usage = _usage(response["usage"])
        except (LookupError, TypeError, AttributeError, ValueError):
            raise TransientError(f"judge {self.name}: the response is no message") from None
        if finish_reason == "refusal":
            raise PoisonError(f"judge {self.name}: refused")
        return JudgeReply(
            text=text,
            model=str(response.get("model") or self.model),
            finish_reason=finish_reason,
            usage=usage,
            latency_s=latency_s,
            request=body,
            response=response,
        )


def _usage(usage: dict[str, Any]) -> Usage:
    """All billable tokens: `input_tokens` alone leaves out what was written to the cache or read from it."""
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    read = sum(int(usage.get(name) or 0) for name in names)
    return Usage(max(0, read), max(0, int(usage["output_tokens"])))

"""A judge behind Anthropic's messages API. It offers no log-probabilities: scores are sampled.

The system text carries a cache mark: it is the same for every case. As in `openai.py`, the request goes
through the SDK's transport and the answer is read here.
"""

import asyncio
import time
from typing import Any

from connectors.base import JudgeReply, JudgeRequest, Usage
from connectors.errors import PoisonError, TransientError
from connectors.judges.failures import failure, object_of

BASE_URL = "https://api.anthropic.com"


class AnthropicJudge:
    """A Judge. `structured` sends the JSON schema, which models before 2026 do not take."""

    def __init__(
        self,
        *,
        name: str,
        family: str,
        model: str,
        api_key: str | None,
        base_url: str | None = None,
        deadline_s: float = 60.0,
        structured: bool = True,
    ) -> None:
        from anthropic import AsyncAnthropic, DefaultAioHttpClient

        self.name = name
        self.family = family
        self.model = model
        self._deadline_s = deadline_s
        self._structured = structured
        self._client = AsyncAnthropic(
            api_key=api_key or "none",
            base_url=base_url or BASE_URL,
            max_retries=0,
            timeout=deadline_s,
            http_client=DefaultAioHttpClient(trust_env=False, follow_redirects=False),
        )

    async def ask(self, request: JudgeRequest) -> JudgeReply:
        """One call. See the contract of `Judge`."""
        body = self._body(request)
        start = time.monotonic()
        content = await self._post(body)
        response = object_of(self.name, content)
        return _reply(self.name, self.model, body, response, time.monotonic() - start)

    async def close(self) -> None:
        await self._client.close()

    async def _post(self, body: dict[str, Any]) -> bytes:
        import httpx2
        from anthropic import APIConnectionError, APIStatusError, APITimeoutError

        try:
            async with asyncio.timeout(self._deadline_s):
                response = await self._client.post("/v1/messages", body=body, cast_to=httpx2.Response)
                return response.content
        except (TimeoutError, APITimeoutError) as error:
            raise TransientError(f"judge {self.name}: no answer in {self._deadline_s:g} s") from (
                error if isinstance(error, TimeoutError) else TimeoutError()
            )
        except APIStatusError as error:
            raise failure(
                self.name,
                error.status_code,
                headers=error.response.headers,
                body=error.body,
                now=time.time(),
            ) from error
        except (APIConnectionError, httpx2.HTTPError) as error:
            cause = error.__cause__ or error
            why = " ".join(f"{type(cause).__name__} {cause}".split())[:200]
            raise TransientError(f"judge {self.name}: {why}") from error

    def _body(self, request: JudgeRequest) -> dict[str, Any]:
        system = {"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}
        body: dict[str, Any] = {
            "model": self.model,
            "system": [system],
            "messages": [{"role": each.role, "content": each.content} for each in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": min(request.temperature, 1.0),
        }
        if request.schema is not None and self._structured:
            body["output_config"] = {"format": {"type": "json_schema", "schema": dict(request.schema)}}
        return body


def _reply(
    judge: str, model: str, body: dict[str, Any], response: dict[str, Any], latency_s: float
) -> JudgeReply:
    try:
        blocks = response["content"]
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        finish_reason = str(response.get("stop_reason") or "")
        usage = _usage(response["usage"])
    except (LookupError, TypeError, AttributeError, ValueError):
        raise TransientError(f"judge {judge}: the response is no message") from None
    if finish_reason == "refusal":
        raise PoisonError(f"judge {judge}: refused")
    return JudgeReply(
        text=text,
        model=str(response.get("model") or model),
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

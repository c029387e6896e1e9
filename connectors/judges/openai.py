"""A judge behind OpenAI's chat completions, or any server that speaks them (vLLM, a gateway, a proxy).

The request goes through the SDK's own transport (authentication, connection pool, errors); the answer is read
here, from the bytes: the SDK's response models cost more than all the rest of a judgement.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from connectors.base import JudgeReply, JudgeRequest, TokenChoice, Usage
from connectors.errors import PoisonError, TransientError
from connectors.judges.failures import failure, object_of

BASE_URL = "https://api.openai.com/v1"
TOP_LOGPROBS = 20
CHARS_PER_TOKEN = 3
"""For servers that report no usage: rather more tokens than fewer, as money is counted by them."""


class OpenAIJudge:
    """A Judge. `structured` sends the JSON schema; some servers refuse `response_format`."""

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
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self.name = name
        self.family = family
        self.model = model
        self._deadline_s = deadline_s
        self._structured = structured
        self._client = AsyncOpenAI(
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
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        try:
            async with asyncio.timeout(self._deadline_s):
                response = await self._client.post("/chat/completions", body=body, cast_to=httpx2.Response)
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
            raise TransientError(f"judge {self.name}: {_why(error)}") from error

    def _body(self, request: JudgeRequest) -> dict[str, Any]:
        messages = [{"role": "system", "content": request.system}]
        messages += [{"role": each.role, "content": each.content} for each in request.messages]
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if request.schema is not None and self._structured:
            schema = {"name": "judgement", "strict": True, "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body


def _why(error: Exception) -> str:
    cause = error.__cause__ or error
    return " ".join(f"{type(cause).__name__} {cause}".split())[:200]


def _reply(
    judge: str, model: str, body: dict[str, Any], response: dict[str, Any], latency_s: float
) -> JudgeReply:
    try:
        choice = response["choices"][0]
        message = choice["message"]
        text = message["content"] or ""
        finish_reason = str(choice.get("finish_reason") or "")
        refusal = message.get("refusal")
        tokens = _tokens(choice.get("logprobs"))
        usage = _usage(response.get("usage"), body, text)
    except (LookupError, TypeError, AttributeError, ValueError):
        raise TransientError(f"judge {judge}: the response is no chat completion") from None
    if refusal or finish_reason == "content_filter":
        raise PoisonError(f"judge {judge}: refused: {str(refusal or finish_reason)[:200]}")
    if not isinstance(text, str):
        raise TransientError(f"judge {judge}: the response's content is no text")
    return JudgeReply(
        text=text,
        model=str(response.get("model") or model),
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

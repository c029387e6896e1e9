"""A judge behind Anthropic's messages. No token log-probabilities: scores are means of samples."""

from collections.abc import Mapping
from typing import Any

from connectors.base import JudgeReply, JudgeRequest, Usage
from connectors.errors import PoisonError, UnreadableError
from connectors.judges.dialect import Dialect
from connectors.judges.sdk import Sdk, SdkJudge
from connectors.judges.usage import estimated, served, summed, tokens

READ = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""All billable tokens that were read: the first alone leaves out what went through the cache."""


class AnthropicJudge(SdkJudge):
    """A Judge over messages. Models before Claude 4.5 take no schema."""

    path = "/v1/messages"
    home = "https://api.anthropic.com"

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
            base_url=self._base_url,
            max_retries=0,
            timeout=self._deadline_s,
            http_client=DefaultAioHttpClient(trust_env=False, follow_redirects=False),
        )
        return Sdk(client, APIConnectionError, APIStatusError, APITimeoutError)

    def _first_dialect(self, *, own: bool, structured: bool) -> Dialect:
        del own  # there is one name of the limit here
        return Dialect(spelled=True, form="json_schema" if structured else "none")

    def _body(self, request: JudgeRequest, dialect: Dialect) -> dict[str, Any]:
        system = {"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}
        body: dict[str, Any] = {
            "model": self.model,
            "system": [system],
            "messages": [{"role": each.role, "content": each.content} for each in request.messages],
            "max_tokens": request.max_tokens,
        }
        if request.temperature is not None and dialect.temperature:
            body["temperature"] = min(request.temperature, 1.0)
        if request.schema is not None and dialect.form == "json_schema":
            body["output_config"] = {"format": {"type": "json_schema", "schema": dict(request.schema)}}
        return body

    def _reply(self, body: dict[str, Any], response: dict[str, Any], latency_s: float) -> JudgeReply:
        read, written = _stated(response.get("usage"))
        if response.get("type") == "error" or response.get("error"):
            error = self._failure_in(response, response.get("error") or response)
            raise served(error, response, read, written) if read or written else error
        finish_reason = str(response.get("stop_reason") or "")
        if finish_reason == "refusal":
            raise served(PoisonError(f"judge {self.name}: refused"), response, read, written)
        text = _text(response.get("content"))
        if text is None:
            unreadable = UnreadableError(f"judge {self.name}: the response is no message")
            raise served(unreadable, response, read, written)
        if read is None:
            asked = [*body["messages"], {"content": body["system"][0]["text"]}]
            read = estimated(sum(len(each["content"]) for each in asked))
        if written is None:
            written = body["max_tokens"] if finish_reason == "max_tokens" else estimated(len(text))
        return JudgeReply(
            text=text,
            model=str(response.get("model") or self.model),
            finish_reason=finish_reason,
            usage=Usage(read, written),
            latency_s=latency_s,
            request=body,
            response=response,
        )


def _text(content: object) -> str | None:
    """The text of the blocks, thoughts left out; None where there are no blocks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    blocks = [block for block in content if isinstance(block, Mapping) and block.get("type") == "text"]
    return "".join(block["text"] for block in blocks if isinstance(block.get("text"), str))


def _stated(usage: object) -> tuple[int | None, int | None]:
    if not isinstance(usage, Mapping):
        return None, None
    return summed(usage, READ), tokens(usage.get("output_tokens"))

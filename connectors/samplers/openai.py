"""Candidates sampled from an OpenAI-compatible endpoint that serves the policy (vLLM, a gateway, a proxy)."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from connectors.base import PLAIN_QUESTION, Samples
from connectors.errors import ConnectorError, FatalError, PoisonError, RateLimitedError, TransientError
from connectors.http import Failure, failure_of, retry_after
from connectors.refusals import parsed, refusal_of
from connectors.samplers.completion import NothingSaidError, answered, asking
from policies.records import Message, Sampled

Tools = tuple[Mapping[str, Any], ...]
Post = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


REFUSED = frozenset({400, 422})
"""A request that will not be answered as it is, for example with roles out of turn."""
ADVICE: Mapping[Failure, str] = {
    Failure.KEY: "check policy.sampling.api_key_file",
    Failure.RIGHTS: "check policy.sampling.api_key_file",
    Failure.CREDIT: "see to the account of policy.sampling.api_key_file",
    Failure.ADDRESS: "check policy.sampling.base_url and model",
}
"""What to change for a refusal that every call gets."""


class EndpointSampler:
    """A Sampler. Every answer is a call of its own under one deadline; `attempts` of them at most.

    A connection pool lives as long as one `sample`, which may therefore be called from any event loop.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str | None = None,
        temperature: float = 1.0,
        max_new_tokens: int = 256,
        concurrency: int = 16,
        deadline_s: float = 120.0,
        attempts: int = 3,
        backoff_s: float = 1.0,
    ) -> None:
        self._base_url = base_url
        self._model = model
        self._api_key = api_key
        self._temperature = temperature
        self._max_new_tokens = max_new_tokens
        self._concurrency = concurrency
        self._deadline_s = deadline_s
        self._attempts = attempts
        self._backoff_s = backoff_s

    async def sample(
        self, prompts: Sequence[tuple[Message, ...]], count: int, *, tools: Sequence[Tools] = ()
    ) -> Samples:
        """`count` answers to each prompt. See the contract of `Sampler`."""
        from openai import AsyncOpenAI, DefaultAioHttpClient

        client = AsyncOpenAI(
            api_key=self._api_key or "none",
            base_url=self._base_url,
            max_retries=0,
            timeout=self._deadline_s,
            http_client=DefaultAioHttpClient(trust_env=False, follow_redirects=False),
        )
        offered = tools or [()] * len(prompts)
        bodies = [self._body(prompt, each) for prompt, each in zip(prompts, offered, strict=True)]
        async with client:
            post = _poster(client, self._base_url, self._deadline_s, self._api_key or "")
            found = _samples(await self._rows(post, bodies, count))
            if found.refused and len(found.refused) == len(prompts):
                await self._make_sure(post, next(filter(None, offered), ()))
        return found

    async def _rows(
        self, post: Post, bodies: Sequence[Mapping[str, Any]], count: int
    ) -> list[list[Sampled | PoisonError]]:
        """Each answer, or why there is none. The worst of what stops all of them is raised."""
        places = asyncio.Semaphore(self._concurrency)

        async def one(body: Mapping[str, Any]) -> Sampled | PoisonError:
            async with places:
                try:
                    return await self._answer(post, body)
                except PoisonError as refusal:
                    return refusal

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [[group.create_task(one(body)) for _ in range(count)] for body in bodies]
        except* ConnectorError as errors:
            raise _first(errors) from None
        return [[task.result() for task in row] for row in tasks]

    async def _make_sure(self, post: Post, tools: Tools) -> None:
        """Raises FatalError where a plain question with the agent's tools is refused like all prompts."""
        try:
            await self._answer(post, self._body(PLAIN_QUESTION, tools))
        except PoisonError as refusal:
            raise FatalError(f"every prompt is refused, and so is a plain question: {refusal}") from None

    def _body(self, prompt: tuple[Message, ...], tools: Tools) -> dict[str, Any]:
        limits = {"max_tokens": self._max_new_tokens, "temperature": self._temperature}
        return {"model": self._model, **asking(prompt, tools), **limits}

    async def _answer(self, post: Post, body: Mapping[str, Any]) -> Sampled:
        for attempt in range(1, self._attempts + 1):
            try:
                return answered(await post(body), self._base_url)
            except NothingSaidError:
                if attempt == self._attempts:
                    raise
            except TransientError as error:
                asked = error.retry_after_s if isinstance(error, RateLimitedError) else None
                wait = self._backoff_s * 2 ** (attempt - 1) if asked is None else asked
                if attempt == self._attempts or wait > self._deadline_s:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")


def _samples(rows: Sequence[Sequence[Sampled | PoisonError]]) -> Samples:
    """The answers, none to a prompt of which one was refused."""
    found = [next((each for each in row if isinstance(each, PoisonError)), None) for row in rows]
    refused = {index: str(refusal) for index, refusal in enumerate(found) if refusal is not None}
    answers = [
        [] if index in refused else [each for each in row if isinstance(each, Sampled)]
        for index, row in enumerate(rows)
    ]
    return Samples(answers, refused)


def _poster(client: Any, url: str, deadline_s: float, key: str) -> Post:
    """One call, with what can go wrong as our own errors. Returns the response's JSON object."""
    import httpx2
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    async def post(body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(deadline_s):
                response = await client.post("/chat/completions", body=body, cast_to=httpx2.Response)
                found = json.loads(response.content)
        except (TimeoutError, APITimeoutError) as error:
            if isinstance(error.__cause__, httpx2.ConnectTimeout):  # also a refused connection
                why = " ".join(str(error.__cause__).split())[:200]
                raise TransientError(f"{url}: cannot be reached: {why}") from None
            raise TransientError(f"{url}: no answer in {deadline_s:g} s") from None
        except APIStatusError as error:
            response = error.response
            raise _failure(url, error.status_code, response.headers, response.content, key) from None
        except (APIConnectionError, httpx2.HTTPError) as error:
            cause = error.__cause__ or error
            raise TransientError(f"{url}: {type(cause).__name__} {cause}"[:300]) from None
        except (ValueError, RecursionError):
            raise TransientError(f"{url}: the response is not JSON") from None
        if not isinstance(found, dict):
            raise TransientError(f"{url}: the response is not a JSON object")
        return found

    return post


def _failure(url: str, status: int, headers: Mapping[str, str], content: bytes, key: str) -> ConnectorError:
    """What an HTTP status means, in the server's own words; keys are masked, as servers echo them."""
    refusal, wait_s = refusal_of(parsed(content)), retry_after(headers, now=time.time())
    text = f"{url}: HTTP {status}: {refusal.words((key,))}"
    found = failure_of(status, refusal, wait_s)
    if found is Failure.OVERLOAD:
        return RateLimitedError(text, wait_s)
    if found is Failure.OUTAGE:
        return TransientError(text)
    its_own = found in {Failure.MODERATED, Failure.LENGTH}
    if its_own or (found is Failure.OTHER and status in REFUSED):
        return PoisonError(text)
    return FatalError(f"{text}: {ADVICE[found]}" if found in ADVICE else text)


def _first(errors: BaseExceptionGroup[ConnectorError]) -> ConnectorError:
    """The one to raise for all: a fatal one where there is one."""
    flat: list[ConnectorError] = []
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            flat.append(_first(error))
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, FatalError)), flat[0])

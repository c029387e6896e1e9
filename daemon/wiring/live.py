"""`rlaifd check --live`: what the configuration points to is tried once, by the code that works with it.

A judge is asked one small case, which costs what a judgement costs and is booked on its budget. Nothing else
is changed: the group of a topic is not joined, and nothing is served.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from connectors.base import PLAIN_QUESTION, Judge, JudgeRequest, ServingTarget, Usage
from connectors.errors import ConnectorError, FatalError, PoisonError
from daemon.config.judges import ChatJudgeConfig
from daemon.config.settings import JsonlConfig, KafkaConfig, Settings, SourceConfig
from daemon.errors import RlaifdError
from daemon.store.store import ping
from daemon.wiring.parts import Wiring
from policies.judging import grammar, prompts
from policies.judging.grammar import Invalid
from policies.judging.judges import NamedJudge
from policies.judging.prompts import Case, Turn
from policies.records import Message, Scope

CASE = Case(
    turns=(Turn("user", "What is the capital of France?"),), answers=("The capital of France is Paris.",)
)
CHARS_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was tried: its key, whether it works, and what it said."""

    key: str
    ok: bool
    said: str


def tried(settings: Settings) -> list[Tried]:
    """Everything, in the order of the configuration. What fails keeps nothing else from being tried."""
    found: list[Tried] = []
    parts = Wiring(settings)
    try:
        store = _attempt("store.url", lambda: _store(parts))
        found.append(store)
        found += [
            _attempt(f"sources.{number}", lambda number=number, source=source: _source(number, source))  # type: ignore[misc]
            for number, source in enumerate(settings.sources)
        ]
        found += _judges(parts, booked=store.ok)
        if parts.endpoint is not None:
            found.append(_attempt("policy.sampling", lambda: _sampler(parts)))
        if settings.rollout.lead:
            found += [
                _attempt(f"targets.{number}", lambda target=target: _target(target))  # type: ignore[misc]
                for number, target in enumerate(parts.targets)
            ]
    finally:
        parts.close()
    return found


def _attempt(key: str, work: Callable[[], str]) -> Tried:
    start = time.monotonic()
    try:
        said = work()
    except (RlaifdError, ConnectorError, OSError) as error:
        return Tried(key, ok=False, said=" ".join(str(error).split()))
    return Tried(key, ok=True, said=f"{said} ({time.monotonic() - start:.1f} s)")


def _store(parts: Wiring) -> str:
    parts.prepare_store()
    ping(parts.store)
    return f"{parts.store.name} answers"


def _source(number: int, source: SourceConfig) -> str:
    if isinstance(source, JsonlConfig):
        return _files(source)
    return _broker(number, source)


def _files(source: JsonlConfig) -> str:
    if not source.path.exists():
        return f"{source.path} does not exist yet: it will be waited for"
    count = sum(path.is_file() for path in source.path.glob(source.pattern))
    return f"{count} files of {source.pattern} in {source.path}"


def _broker(number: int, source: KafkaConfig) -> str:
    from connectors.sources.kafka.probe import partitions
    from daemon.wiring.broker import options_of

    count = partitions(options_of(source, key=f"sources.{number}"))
    return f"{source.bootstrap_servers} answers; {count} partitions of {', '.join(source.topics)}"


def _judges(parts: Wiring, *, booked: bool) -> Iterator[Tried]:
    """Each judge's answer. Without a store no call could be booked, and none is made."""
    for named in parts.named:
        key = f"judges.{named.name}"
        if named.name not in parts.judges:
            continue  # it is here: what it needs is checked without it
        if not booked:
            yield Tried(key, ok=False, said="not asked: without a store its call could not be booked")
            continue
        yield _attempt(key, lambda named=named: asyncio.run(_asked(parts, named)))  # type: ignore[misc]


async def _asked(parts: Wiring, named: NamedJudge) -> str:
    parts.latch.check(Scope.JUDGING)
    judge, config = parts.judges[named.name], parts.settings.judges[named.name]
    assert isinstance(config, ChatJudgeConfig)
    constitution, rubric = parts.documents
    nonce = secrets.token_hex(8)
    request = JudgeRequest(
        system=prompts.system_text(constitution, rubric),
        messages=(Message(role="user", content=prompts.render(CASE, nonce=nonce, dimensions=rubric.names)),),
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        logprobs=config.logprobs,
        schema=grammar.schema("score", rubric.names),
    )
    text, finish_reason, cost = await _paid(parts, named, judge, request)
    read = grammar.parse_score(text, nonce=nonce, dimensions=rubric.names, finish_reason=finish_reason)
    if isinstance(read, Invalid):
        raise PoisonError(
            f"judge {named.name}: {config.model} answered, for {cost:.4f} US dollars, and no verdict can be "
            f"read: {read.reason}"
        )
    return f"{config.model} gave a verdict for {cost:.4f} US dollars"


async def _paid(
    parts: Wiring, named: NamedJudge, judge: Judge, request: JudgeRequest
) -> tuple[str, str, float]:
    """The answer's text, how it ended and what it cost: reserved before, settled after."""
    tariff, limit = parts.prices[named.name], parts.settings.judges[named.name].daily_budget_usd
    chars = len(request.system) + sum(len(message.content) for message in request.messages)
    estimate = tariff.cost(Usage(chars // CHARS_PER_TOKEN + 1, request.max_tokens)) if tariff else 0.0
    held = await asyncio.to_thread(parts.budget.reserve, named, estimate, limit)
    cost = estimate  # of a call whose bill nobody will see
    try:
        reply = await judge.ask(request)
        cost = tariff.cost(reply.usage) if tariff else 0.0
    except FatalError:
        cost = 0.0
        raise
    finally:
        await asyncio.to_thread(parts.budget.settle, held, cost)
        await judge.close()
    return reply.text, reply.finish_reason, cost


def _sampler(parts: Wiring) -> str:
    sampler = parts.endpoint
    if sampler is None:
        raise RlaifdError("answers are sampled by a child process")
    found = asyncio.run(sampler.sample([PLAIN_QUESTION], 1))
    if found.refused:
        raise PoisonError(found.refused[0])
    return "the policy answers"


def _target(target: ServingTarget) -> str:
    return f"{target.name} serves {target.served().adapter or 'the base model'}"

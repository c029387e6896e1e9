"""Connectors as they are configured. A client's package is imported where one is wanted, and not before."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from connectors.base import Judge, Source
from daemon.clock import Clock
from daemon.config.judges import ChatJudgeConfig
from daemon.config.secret import api_key
from daemon.config.settings import JsonlConfig, Settings, SourceConfig
from daemon.service.instance import identity
from daemon.stages.ingest.brake import Brake, free_bytes
from daemon.store.store import Store
from policies.records import digest


def source_of(source: SourceConfig, *, state_dir: Path) -> Source:
    """The source. A Kafka member keeps its name over restarts: it is of the state directory and the source.

    Raises ConfigError where its password cannot be read.
    """
    if isinstance(source, JsonlConfig):
        from connectors.sources.jsonl import JsonlSource

        return JsonlSource(
            name=source.name,
            path=source.path,
            pattern=source.pattern,
            poll_s=source.poll_s,
            max_records=source.max_in_flight_records,
            max_bytes=source.max_in_flight_bytes,
        )
    from connectors.sources.kafka.source import KafkaSource
    from daemon.wiring.broker import options_of

    options = options_of(source, key=f"source {source.name}")
    member = f"{identity(state_dir)}-{digest(source.name)[:12]}"
    return KafkaSource(name=source.name, options=replace(options, group_instance_id=member))


def brake_of(settings: Settings, store: Store, clock: Clock) -> Brake:
    """What says when reading pauses. Each source has its own."""
    free = partial(free_bytes, settings.state_dir)
    return Brake(store=store, clock=clock, rule=settings.stages.pressure, free=free)


def judge_of(name: str, judge: ChatJudgeConfig) -> Judge:
    """The client of a chat model. Raises ConfigError where its key cannot be read."""
    arguments: dict[str, Any] = {
        "name": name,
        "family": judge.family,
        "model": judge.model,
        "api_key": api_key(name, judge),
        "base_url": judge.base_url,
        "deadline_s": judge.deadline_s,
        "structured": judge.structured,
    }
    if judge.type == "openai":
        from connectors.judges.openai import OpenAIJudge

        return OpenAIJudge(**arguments)
    from connectors.judges.anthropic import AnthropicJudge

    return AnthropicJudge(**arguments)

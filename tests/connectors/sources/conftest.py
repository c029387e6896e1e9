"""Sources that are closed at the end."""

import gc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.sources import jsonl
from connectors.sources.jsonl import JsonlSource
from connectors.sources.kafka.client import KafkaOptions
from connectors.sources.kafka.source import KafkaSource
from tests.connectors.sources.following import Start
from tests.connectors.sources.reading import Open
from tests.contracts.sources import Positions
from tests.servers.kafka import Broker


@pytest.fixture
def open_source() -> Iterator[Open]:
    """Starts sources with quick sessions and closes them at the end."""
    sources: list[KafkaSource] = []

    def opened(
        broker: Broker | str, topic: str, positions: Any = None, name: str = "s", **options: Any
    ) -> KafkaSource:
        given: dict[str, Any] = {
            "bootstrap_servers": broker if isinstance(broker, str) else broker.bootstrap,
            "topics": (topic,),
            "group_id": f"g-{uuid.uuid4().hex[:12]}",
            "session_timeout_s": 6.0,
            "bootstrap_timeout_s": 3.0,
            **options,
        }
        source = KafkaSource(name=name, options=KafkaOptions(**given))
        sources.append(source)
        source.start(positions or Positions())
        return source

    yield opened
    while sources:
        sources.pop().close()
    gc.collect()  # the sockets of refused connections, here and not in another test


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    made = tmp_path / "logs"
    made.mkdir()
    return made


@pytest.fixture
def start(logs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts sources over the directory that look at every call; closes them at the end."""
    monkeypatch.setattr(jsonl, "SHARE", 0)
    sources: list[JsonlSource] = []

    def started(positions: Positions | None = None, **options: Any) -> JsonlSource:
        source = JsonlSource(**{"name": "s", "path": logs, "poll_s": 1e-6, **options})
        sources.append(source)
        source.start(positions or Positions())
        return source

    yield started
    for source in sources:
        source.close()

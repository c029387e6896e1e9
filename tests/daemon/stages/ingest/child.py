"""The child process of the kill tests: ingests until it is killed, and says what it did on stdout.

Arguments: kind (kafka or jsonl), database URL, then bootstrap servers, topic, group and perhaps the member's
own name, with which its session is so long that nobody waits for its end, or the directory.
"""

import sys
from pathlib import Path

from connectors.base import Source
from connectors.decoders.detect import Decoders
from connectors.errors import TransientError
from connectors.sources.jsonl import JsonlSource
from connectors.sources.kafka.client import KafkaOptions
from connectors.sources.kafka.source import KafkaSource
from daemon.clock import SystemClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.store.store import Store
from policies.policy import Splits


def source_of(kind: str, where: list[str]) -> Source:
    if kind == "jsonl":
        return JsonlSource(name="s", path=Path(where[0]), poll_s=0.02)
    servers, topic, group, *named = where
    options = KafkaOptions(
        bootstrap_servers=servers,
        topics=(topic,),
        group_id=group,
        group_instance_id=named[0] if named else None,
        session_timeout_s=600.0 if named else 1.5,
    )
    return KafkaSource(name="s", options=options)


def main(kind: str, url: str, *where: str) -> None:
    stage = Ingest(
        source=source_of(kind, list(where)),
        decoders=Decoders(),
        store=Store(url),
        metrics=Metrics(),
        clock=SystemClock(),
        splits=Splits(),
        batch_records=40,
        batch_s=0.02,
    )
    stage.start()
    while True:
        try:
            done = stage.step(0.2)
        except TransientError:
            continue
        if done:
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The child process of the kill tests: ingests until it is killed, and says what it did on stdout.

Arguments: kind (kafka or jsonl), database URL, then bootstrap servers, topic, group and perhaps the member's
own name, with which its session is so long that nobody waits for its end, or the directory. SIGTERM ends it
in order. With RLAIFD_TEST_DIE it kills itself, as `kill -9` does, at a `Moment` of its second batch.
"""

import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

from connectors.base import Source
from connectors.decoders.detect import Decoders
from connectors.errors import TransientError
from connectors.sources.jsonl import JsonlSource
from connectors.sources.kafka.client import KafkaOptions
from connectors.sources.kafka.source import KafkaSource
from daemon.clock import SystemClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest import bad_rows
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.store.store import Store, StoreError
from policies.policy import Splits

BATCH = 2


class Moment(StrEnum):
    """Where a batch is when the process dies."""

    WRITTEN = "written"
    """In the transaction, before its commit."""
    COMMITTED = "committed"
    """In the store, before Kafka is told."""
    DRAINING = "draining"
    """After SIGTERM, before the last positions are told and the group is left."""


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
        metadata_max_age_s=1.0,
    )
    return KafkaSource(name="s", options=options)


def die_at(moment: Moment, source: Source) -> None:
    """Dies there in its second batch, whatever the machine's pace."""
    batches = 0

    def dying(work: Any) -> Any:
        def done(*given: Any, **named: Any) -> Any:
            nonlocal batches
            batches += 1
            made = work(*given, **named) if batches < BATCH or moment is Moment.WRITTEN else None
            if batches >= BATCH:
                os.kill(os.getpid(), signal.SIGKILL)
            return made

        return done

    match moment:
        case Moment.WRITTEN:
            setattr(bad_rows, "store_batch", dying(getattr(bad_rows, "store_batch")))  # noqa: B009, B010 - it is bad_rows' own name
        case Moment.COMMITTED:
            source.commit = dying(source.commit)  # type: ignore[method-assign]
        case Moment.DRAINING:
            batches = BATCH
            source._leave = dying(None)  # type: ignore[attr-defined]


def main(kind: str, url: str, *where: str) -> None:
    source = source_of(kind, list(where))
    if asked := os.environ.get("RLAIFD_TEST_DIE"):
        die_at(Moment(asked), source)
    stage = Ingest(
        source=source,
        decoders=Decoders(),
        store=Store(url),
        metrics=Metrics(),
        clock=SystemClock(),
        rule=IntakeRule(Splits(), batch_records=40, batch_s=0.02),
    )
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    stage.start()
    while not ended:
        try:
            done = stage.step(0.2)
        except (TransientError, StoreError):
            continue
        if done:
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()
    stage.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

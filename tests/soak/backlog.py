"""A backlog of 200,000 events drains from a real broker into SQLite: the reader's memory does not grow.

The reader is a process of its own that does nothing else. Its resident memory is looked at all the while;
once a tenth is stored, all that is built once is there.

`python -m tests.soak.backlog BOOTSTRAP TOPIC URL EVENTS` is the reader.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from connectors.decoders.detect import Decoders
from connectors.sources.kafka.client import KafkaOptions
from connectors.sources.kafka.source import KafkaSource
from daemon import log
from daemon.clock import SystemClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.store.schema import upgrade
from daemon.store.store import Store
from policies.policy import Splits
from tests.benchmarks.ingest import PARTITIONS, event
from tests.soak.bounds import Bounds, Figures, within
from tests.soak.servers import started

EVENTS: Final = 200_000
LOOK_S: Final = 0.5
PATIENCE_S: Final = 1_800.0
MB: Final = 1 << 20
BOUNDS: Bounds = {"backlog_stored": (EVENTS, EVENTS), "backlog_memory_ratio": (0.0, 1.25)}


def run() -> Figures:
    """Megabytes once a tenth is stored, the most after it, and their ratio. Raises BoundsBrokenError."""
    with started() as servers:
        topic = servers.broker.create_topic(PARTITIONS)
        servers.broker.produce(topic, (event(number) for number in range(EVENTS)))
        url = f"sqlite:///{servers.folder / 'backlog.db'}"
        command = [sys.executable, "-m", "tests.soak.backlog", servers.broker.bootstrap, topic, url]
        began = time.monotonic()
        with subprocess.Popen([*command, str(EVENTS)], stdout=subprocess.PIPE, text=True) as reader:
            looks = _watched(reader)
        seconds = time.monotonic() - began
    settled = next((memory for stored, memory in looks if stored >= EVENTS // 10), 0)
    most = max((memory for stored, memory in looks if stored >= EVENTS // 10), default=0)
    figures = {
        "backlog_stored": float(max((stored for stored, _ in looks), default=0)),
        "backlog_seconds": seconds,
        "backlog_settled_mb": settled / MB,
        "backlog_most_mb": most / MB,
        "backlog_memory_ratio": most / settled if settled else float("nan"),
    }
    return within(figures, BOUNDS)


def _watched(reader: "subprocess.Popen[str]") -> list[tuple[int, int]]:
    """After each report of the reader: how much it had stored, and its resident bytes."""
    assert reader.stdout is not None
    return [(int(line), _resident(reader.pid)) for line in reader.stdout]


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


def read(bootstrap: str, topic: str, url: str, events: int) -> None:
    """Stores so many events, and reports how many are stored every `LOOK_S` and at the end."""
    store = Store(url)
    upgrade(store)
    options = KafkaOptions(bootstrap_servers=bootstrap, topics=(topic,), group_id="backlog")
    stage = Ingest(
        source=KafkaSource(name="agent", options=options), decoders=Decoders(), store=store,
        metrics=Metrics(), clock=SystemClock(), rule=IntakeRule(Splits()),
    )  # fmt: skip
    stage.start()
    told, deadline = 0.0, time.monotonic() + PATIENCE_S
    while stage.totals.stored < events and time.monotonic() < deadline:
        stage.step(0.5)
        if time.monotonic() - told >= LOOK_S:
            told = time.monotonic()
            _tell(stage.totals.stored)
    _tell(stage.totals.stored)
    stage.close()
    store.close()


def _tell(stored: int) -> None:
    sys.stdout.write(f"{stored}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    log.configure("warning", "auto")
    read(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))

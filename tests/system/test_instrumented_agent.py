"""An agent that really runs, instrumented by OpenTelemetry: from its client to joined traces in the store."""

import json
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from connectors.decoders.detect import Decoders
from connectors.sources.kafka.client import KafkaOptions
from connectors.sources.kafka.source import KafkaSource
from daemon.clock import SystemClock
from daemon.metrics.registry import Metrics
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.ingest.intake import IntakeRule
from daemon.store.store import Store
from daemon.store.tables import TraceRow
from policies.policy import Splits
from policies.records import Trace
from tests.daemon.stages.seeding import add_adapter, rows
from tests.servers import otlp_agent
from tests.servers.kafka import Broker
from tests.servers.otlp_bridge import Bridge
from tests.servers.provider import Provider, Reply

pytestmark = [pytest.mark.kafka, pytest.mark.otel]

CONVENTIONS = ("genai", "genai-events", "openinference")
ADAPTER = "agent-20261120-9a1e"
PARTITIONS = 3
WAIT_S = 120.0


class Model:
    """A chat server's answers under the adapter's name: a call of the tool, then what the tool found."""

    def __init__(self) -> None:
        self._numbers = count()
        self._lock = threading.Lock()

    def __call__(self, asked: Mapping[str, Any]) -> Reply:
        with self._lock:
            number = next(self._numbers)
        last = asked["messages"][-1]
        if last["role"] == "tool":
            message: dict[str, Any] = {"role": "assistant", "content": "It is in Ulm."}
        else:
            wanted = json.dumps({"number": int(last["content"].split()[-1].rstrip("?"))})
            call = {"id": f"call_{number}", "type": "function",
                    "function": {"name": "find_parcel", "arguments": wanted}}  # fmt: skip
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        choice = {"index": 0, "message": message, "finish_reason": finish}
        usage = {"prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 57}
        return 200, {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1_790_000_000,
                     "model": ADAPTER, "choices": [choice], "usage": usage}  # fmt: skip


def run_agents(python: Path, chat_url: str, otlp_url: str) -> None:
    """One agent for each convention, side by side."""
    program = Path(otlp_agent.__file__)
    started = [
        subprocess.Popen(
            [python, program, convention, chat_url, otlp_url, f"talk-{convention}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for convention in CONVENTIONS
    ]  # fmt: skip
    for each in started:
        said, _ = each.communicate(timeout=WAIT_S)
        assert each.returncode == 0, said
        assert "Exception" not in said, said


def ingested(broker: Broker, topic: str, store: Store, metrics: Metrics, answers: int) -> Ingest:
    """Reads the topic until so many traces are joined."""
    options = KafkaOptions(bootstrap_servers=broker.bootstrap, topics=(topic,), group_id=f"g-{topic}")
    source = KafkaSource(name="agent", options=options)
    stage = Ingest(
        source=source, decoders=Decoders("otlp"), store=store, metrics=metrics, clock=SystemClock(),
        rule=IntakeRule(Splits()),
    )  # fmt: skip
    with closing(stage):
        deadline = time.monotonic() + WAIT_S
        while stage.joined.stored < answers and time.monotonic() < deadline:
            stage.step(0.2)
    return stage


def test_its_answers_arrive(instrumented_python: Path, kafka_broker: Broker, sqlite_store: Store) -> None:
    """Two questions, each a loop of a call and an answer: two traces a convention, whole, in their session,
    of the adapter that the server answered with; spread over partitions, and no record lost.
    """
    topic = kafka_broker.create_topic(partitions=PARTITIONS)
    add_adapter(sqlite_store, ADAPTER)
    sent = count()

    def write(signal: str, body: bytes) -> None:
        assert signal in {"traces", "logs"}
        kafka_broker.produce(topic, [body], partition=next(sent) % PARTITIONS)

    with Provider(Model()) as model, Bridge(write) as bridge:
        run_agents(instrumented_python, model.url, bridge.url)
    metrics = Metrics()
    stage = ingested(kafka_broker, topic, sqlite_store, metrics, 2 * len(CONVENTIONS))
    assert (stage.totals.records, stage.totals.dead_letters) == (next(sent), 0)
    stored = rows(sqlite_store, TraceRow)
    assert sorted(row.session for row in stored) == sorted(f"talk-{each}" for each in CONVENTIONS * 2)
    assert {row.adapter for row in stored} == {ADAPTER}
    assert {row.subject for row in stored} == {"ada"}
    assert len({row.agent_version for row in stored}) == 1
    for row in stored:
        check(Trace.model_validate(row.payload))
    steps = {"source": "agent", "outcome": "step"}
    assert metrics.registry.get_sample_value("rlaifd_traces_joined_total", steps) == 2 * len(CONVENTIONS)


def check(trace: Trace) -> None:
    """What a reader of the agent's program expects of each of its answers."""
    second = len(trace.messages) > 4
    roles = [message.role for message in trace.messages]
    loop = ["user", "assistant", "tool"]
    assert roles == ["system", *loop, *(["assistant", *loop] if second else [])]
    assert trace.messages[0].content == otlp_agent.RULES
    (call,) = trace.messages[-2].tool_calls
    number = 8 if second else 7
    assert (call.name, call.arguments) == ("find_parcel", {"number": number})
    assert trace.messages[-3].content == f"Where is parcel {number}?"
    assert (trace.messages[-1].tool_call_id, trace.messages[-1].name) == (call.id, "find_parcel")
    assert [message.content for message in trace.output] == ["It is in Ulm."]
    assert trace.tools == (otlp_agent.TOOL,)
    assert (trace.model, trace.tags["requested_model"]) == (ADAPTER, otlp_agent.MODEL)
    assert trace.usage is not None
    assert (trace.usage.input_tokens, trace.tags["finish_reason"]) == (50, "stop")
    assert (trace.truncated, trace.incomplete, trace.unshown) == (False, False, False)

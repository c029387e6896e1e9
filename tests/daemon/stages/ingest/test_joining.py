"""Spans from a log to joined traces in the store: over partitions, with their adapter, and none of what is
not all there in any training.
"""

import json
from typing import Any

import pytest

from connectors.memory import MemorySource
from daemon.clock import FakeClock
from daemon.metrics.registry import Metrics
from daemon.store import answers, candidates, preferences
from daemon.store.evaluations import gate_prompts
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, TraceRow
from daemon.store.traces import INCOMPLETE
from policies.policy import Splits
from policies.records import Trace
from tests.connectors.decoders.otlp.requests import (
    CHAT,
    TRACE,
    as_text,
    log,
    logs,
    proto,
    span,
    span_id,
    traces,
)
from tests.daemon.stages.ingest.intake import Make, drain
from tests.daemon.stages.seeding import add_adapter, rows, table

ROOT = span("agent", attributes={"session.id": "s-1", "user.id": "u-1"})
NOTHING = {"gen_ai.operation.name": "chat", "gen_ai.response.model": "agent-a1"}


def details(of: str, answer: str = "In Ulm.") -> Any:
    said = [{"role": "assistant", "parts": [{"type": "text", "content": answer}]}]
    attributes = {**CHAT, "gen_ai.output.messages": said, "gen_ai.response.model": "agent-a1"}
    return log("gen_ai.client.inference.operation.details", of, attributes=attributes)


def test_parts_over_topics_and_partitions(
    make: Make, source: MemorySource, store: Store, clock: FakeClock, metrics: Metrics
) -> None:
    """The root first, on another partition than the call; its content as a log record, later. All is one
    answer, of the adapter that the response names.
    """
    add_adapter(store, "agent-a1")
    stage = make()
    source.append(proto(traces(ROOT)), partition=3, timestamp=1.0)
    drain(stage)
    clock.advance(4.0)
    source.append(proto(traces(span("call", "agent", attributes=NOTHING))), partition=1, timestamp=1.0)
    source.append(proto(logs(details("call"))), topic="logs", timestamp=1.0)
    drain(stage)
    assert rows(store, TraceRow) == []
    clock.advance(5.0)
    drain(stage)
    (row,) = rows(store, TraceRow)
    assert (row.event_id, row.session, row.subject) == (f"{TRACE}:{span_id('call')}", "s-1", "u-1")
    assert (row.model, row.adapter) == ("agent-a1", "agent-a1")
    assert [each.adapter for each in rows(store, CandidateRow)] == ["agent-a1"]
    assert stage.totals.spans == 3
    told = {name: _joined(metrics, name) for name in ("stored", "step", "no_content")}
    assert told == {"stored": 1, "step": 0, "no_content": 0}
    name = "rlaifd_data_newest_event_timestamp_seconds"
    newest = metrics.registry.get_sample_value(name, {"source": "memory"})
    assert newest == row.ts


def _joined(metrics: Metrics, outcome: str) -> float | None:
    labels = {"source": "memory", "outcome": outcome}
    return metrics.registry.get_sample_value("rlaifd_traces_joined_total", labels)


def test_a_content_that_comes_late_is_an_answer_then(
    make: Make, source: MemorySource, store: Store, clock: FakeClock, metrics: Metrics
) -> None:
    """And one that changes is a revision, which is judged again."""
    stage = make()
    source.append(json.dumps(traces(ROOT, span("call", "agent", attributes=NOTHING))).encode(), timestamp=1.0)
    drain(stage)
    clock.advance(5.0)
    drain(stage)
    assert (rows(store, TraceRow), _joined(metrics, "no_content")) == ([], 1)
    for answer in ("In Ulm.", "In Ulm, since noon."):
        source.append(json.dumps(logs(details("call", answer))).encode(), timestamp=1.0)
        drain(stage)
        clock.advance(5.0)
        drain(stage)
        marked = table(TraceRow).update().values(planned_at=1.0)
        if answer == "In Ulm.":
            store.write(lambda c, marked=marked: c.execute(marked))  # type: ignore[misc]
    first, second = rows(store, TraceRow)
    assert (first.revision, second.revision) == (0, 1)
    assert (first.planned_at, second.planned_at) == (1.0, None)
    assert "since noon" in str(second.payload)


@pytest.mark.parametrize(
    "model", ["agent-a1", "/srv/adapters/agent-a1", "agent-a1@main", "hosted_vllm/agent-a1"]
)
def test_an_adapter_is_known_by_its_response_s_model(
    make: Make, source: MemorySource, store: Store, clock: FakeClock, model: str
) -> None:
    """As servers write it; a name that is no adapter's is none."""
    add_adapter(store, "agent-a1")
    stage = make()
    for name, told in (("a", model), ("b", "base"), ("c", "agent-a12")):
        call = span(name, attributes=as_text(CHAT | {"gen_ai.response.model": told}))
        source.append(proto(traces(call)), timestamp=1.0)
    drain(stage)
    stage.join_rest()
    assert [row.adapter for row in rows(store, TraceRow)] == ["agent-a1", None, None]


@pytest.mark.parametrize("split", ["train", "gate"])
def test_what_is_not_all_there_is_in_no_training(
    make: Make, source: MemorySource, store: Store, split: str
) -> None:
    """It is judged; but sampled, curated, offered to learn from and compared is only what is whole."""
    names = ("train", "calibrate", "audit", "gate")
    splits = Splits(**{name: float(name == split) for name in names})
    stage = make(splits=splits)
    # Feedback in the event itself makes it one to learn from.
    for name, incomplete in (("whole", False), ("part", True)):
        event = Trace.model_validate(
            {
                "id": name, "source": "s", "ts": 1.0, "incomplete": incomplete,
                "messages": [{"role": "user", "content": f"Where is the {name} of it?"}],
                "output": [{"role": "assistant", "content": "In Ulm."}],
                "feedback": [{"name": "thumb", "score": 1.0}],
            }
        )  # fmt: skip
        source.append(json.dumps(event.model_dump(mode="json")).encode(), timestamp=1.0)
    drain(stage)
    whole, part = rows(store, TraceRow)
    assert (whole.incomplete, part.incomplete, part.refused) == (False, True, INCOMPLETE)
    assert part.planned_at is None
    store.write(lambda c: c.execute(table(TraceRow).update().values(planned_at=1.0)))
    if split == "gate":
        found = [each.trace_id for each in store.read(lambda c: gate_prompts(c, salt="", limit=9))]
    else:
        found = [each.trace_id for each in store.read(lambda c: candidates.unsampled(c, limit=9))]
        assert store.read(lambda c: answers.commented_since(c, None, most=9)) == 1
        again = table(TraceRow).update().values(sampled_at=1.0, curated_at=None)
        store.write(lambda c: c.execute(again))
        uncurated = store.read(lambda c: preferences.uncurated(c, limit=9))
        assert [each.trace_id for each in uncurated] == [whole.id]
    assert found == [whole.id]

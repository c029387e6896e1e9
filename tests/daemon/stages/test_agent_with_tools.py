"""Logs in which every turn has tools go from the log to a snapshot and lose nothing on the way."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Partition, Samples
from connectors.decoders.detect import Decoders
from daemon.clock import FakeClock
from daemon.stages.judge.plan import Plan
from daemon.stages.train.freeze import Freezing
from daemon.store.candidates import StoredPrompt
from daemon.store.store import Store
from daemon.store.tables import CandidateRow
from daemon.store.traces import Arrival, store_batch
from policies import snapshot
from policies.policy import CurationRule, PolicySpec, Splits
from policies.records import Message, Role, Sampled, ToolCall, Trace, text_of
from policies.snapshot import Pair
from tests.daemon.stages.curate.curating import curate_of
from tests.daemon.stages.seeding import Asked, judge, rows, spec
from tests.judges import SMALL

TAU = Path(__file__).resolve().parents[4] / "shared" / "data" / "tau_airline" / "gpt-4o-airline.json.gz"
TOOL = {"name": "find", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}
POLICY: PolicySpec = spec(
    splits=Splits(train=1.0, calibrate=0.0, audit=0.0, gate=0.0),
    curation=CurationRule(max_source_share=1.0, max_source_pairs=10),
)


def made() -> list[dict[str, Any]]:
    """Conversations with parallel calls, several results and arguments of differing shapes."""
    events = []
    for number in range(6):
        calls = [
            {"id": f"c{at}", "function": {"name": "find", "arguments": json.dumps(arguments)}}
            for at, arguments in enumerate(({"n": number}, {"n": number, "deep": {"a": [1, None]}}, {}))
        ]
        events.append(
            {
                "id": f"e{number}",
                "ts": 1.0,
                "tools": [TOOL],
                "messages": [
                    {"role": "user", "content": f"Where is parcel {number}?"},
                    {"role": "assistant", "content": None, "reasoning": "look", "tool_calls": calls},
                    *({"role": "tool", "content": f"r{at}", "tool_call_id": f"c{at}"} for at in (2, 0, 1)),
                ],
                "output": [{"role": "assistant", "content": None, "tool_calls": calls[:1]}],
            }
        )
    return events


def tau() -> list[dict[str, Any]]:
    """Of each of the first conversations, the turn after its third tool result."""
    if not TAU.exists():
        pytest.skip("shared/data/tau_airline is not here")
    events = []
    for number, each in enumerate(json.loads(gzip.decompress(TAU.read_bytes()))[:40]):
        turns = each["traj"]
        results = [at for at, turn in enumerate(turns) if turn["role"] == "tool"]
        at = results[2] + 1 if len(results) >= 3 else len(turns)
        if at < len(turns):
            shared = {"id": f"t{number}", "ts": 1.0, "tools": [TOOL]}
            events.append({**shared, "messages": turns[:at], "output": [turns[at]]})
    return events


def decoded(events: Sequence[dict[str, Any]]) -> list[Trace]:
    found = Decoders().decode(json.dumps(events).encode(), source="agent", timestamp=1.0)
    return [each for each in found if isinstance(each, Trace)]


def answers(prompts: Sequence[StoredPrompt], *, count: int, adapter: str | None, seed: int) -> Samples:
    """A call, a call with other arguments, and text."""
    calls = [
        Message(role="assistant", tool_calls=(ToolCall(name="find", arguments=arguments),))
        for arguments in ({"n": 1}, {"n": {"of": ["a", None]}})
    ]
    row = [
        Sampled(messages=(each,)) for each in (*calls, Message(role="assistant", content="It is on its way."))
    ]
    assert all(prompt.tools == ({"type": "function", "function": TOOL},) for prompt in prompts)
    return Samples([row for _ in prompts])


def speaks(asked: Asked) -> dict[str, Any]:
    """Whoever speaks is better than who calls."""
    return {"reward": 2.0 if asked.texts[0].startswith("[") else 9.0}


def frozen(store: Store, traces: Sequence[Trace], directory: Path) -> tuple[Pair, ...]:
    """From the log to the snapshot as it is read back."""
    arrival = Arrival(Partition("t", 0), 0, 1, b"", tuple(traces))
    store.write(lambda c: store_batch(c, source="agent", arrivals=[arrival], splits=POLICY.splits, now=1.0))
    clock = FakeClock()
    assert Plan(store=store, clock=clock, rule=POLICY.judging, judges=[SMALL]).step() == len(traces)
    stage = curate_of(store, answers, policy=POLICY, roles=frozenset({Role.SMALL}), clock=clock)
    assert stage.sample(at_once=True) == len(traces)
    judge(store, speaks)
    stage.curate()
    made = Freezing(store=store, clock=clock, spec=POLICY, directory=directory).freeze()
    return snapshot.read(made.path, made.id).pairs


@pytest.mark.parametrize("log", [made, tau])
def test_every_prompt_with_tools_becomes_a_pair(sqlite_store: Store, tmp_path: Path, log: Any) -> None:
    """With the calls, results and definitions that were logged; prompts and pairs are keys."""
    events = log()
    traces = decoded(events)
    assert len(traces) == len(events) > 5
    pairs = frozen(sqlite_store, traces, tmp_path)
    assert {pair.prompt for pair in pairs} == {trace.messages for trace in traces}
    assert len(set(pairs)) == len(pairs) == len(traces)
    by_prompt = {trace.messages: trace for trace in traces}
    for pair in pairs:
        assert pair.tools == by_prompt[pair.prompt].tools == ({"type": "function", "function": TOOL},)
        results = [message for message in pair.prompt if message.role == "tool"]
        calls = {call.id for message in pair.prompt for call in message.tool_calls}
        assert len(results) >= 3
        assert {message.tool_call_id for message in results} <= calls
        assert all(message.name for message in results)
        assert text_of(pair.chosen) == "It is on its way." or not pair.chosen[0].tool_calls
        assert pair.rejected[0].tool_calls
    stored = rows(sqlite_store, CandidateRow)
    assert all(row.text.strip() for row in stored)

"""PPO's prompts are those of the traffic, each once and under the caps, with what judges gave the answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon.clock import FakeClock
from daemon.stages.train.freeze import Freezing, NoPreferencesError
from daemon.store.store import Store
from daemon.store.tables import CandidateRow, RunRow, SnapshotRow, TraceRow
from policies import prompted
from policies.policy import CurationRule
from policies.prompted import Prompt
from policies.recipes import PpoRecipe
from policies.records import Message, Split, ToolCall, Trace
from policies.selection import Reason
from tests.daemon.stages.seeding import (
    Writes,
    add_candidate,
    add_trace,
    add_traces,
    add_verdict,
    answer,
    put,
    rows,
    spec,
    table,
)

PPO = PpoRecipe()
CALL = Message(role="assistant", tool_calls=(ToolCall(name="find", arguments={"n": 7}, id="c1"),))
RESULT = Message(role="tool", content="in Rome", tool_call_id="c1")


def stage_of(store: Store, clock: FakeClock, directory: Path, **curation: Any) -> Freezing:
    rule = CurationRule(**{"max_source_share": 1, "max_source_fair": 1000, **curation})
    policy = spec(recipe=PPO, curation=rule)
    return Freezing(store=store, clock=clock, spec=policy, directory=directory)


@pytest.fixture
def stage(store: Store, clock: FakeClock, tmp_path: Path) -> Freezing:
    return stage_of(store, clock, tmp_path)


def frozen(stage: Freezing) -> dict[int, Prompt]:
    made = stage.freeze()
    return {each.trace: each for each in prompted.read(made.path, made.id).prompts}


def logged(store: Store, trace: int) -> int:
    (found,) = (
        each.id for each in rows(store, CandidateRow) if each.trace_id == trace and each.origin == "logged"
    )
    return int(found)


def said(store: Writes, trace_id: int, output: Sequence[Message]) -> None:
    """The trace's output, as the log has it, is this."""
    messages = (Message(role="user", content="where is parcel 7?"),)
    trace = Trace(id=str(trace_id), source="agent", ts=0.0, messages=messages, output=tuple(output))
    payload = trace.model_dump(mode="json")

    def work(connection: Any) -> None:
        t, c = table(TraceRow), table(CandidateRow)
        connection.execute(update(t).where(t.c.id == trace_id).values(payload=payload))
        one = (c.c.trace_id == trace_id) & (c.c.origin == "logged")
        connection.execute(update(c).where(one).values(output=payload["output"]))

    store.write(work)


def test_prompts_are_those_of_the_traffic(store: Store, stage: Freezing) -> None:
    """All of the train split, judged or not, each cluster once, by its newest event; none of another split,
    and none that was refused or killed what sampled it.
    """
    for split in Split:
        add_trace(store, split.value, split)
    again = add_trace(store, "train again", Split.TRAIN, cluster="train")
    other = add_trace(store, "other", Split.TRAIN, planned=False)
    add_trace(store, "killer", Split.TRAIN, refused="it died twice")
    found = frozen(stage)
    assert set(found) == {again, other}
    assert found[other].prompt[0].content == "question other"
    (row,) = rows(store, SnapshotRow)
    assert (row.preference_ids, sorted(row.trace_ids), row.pairs) == ([], [again, other], 2)
    assert row.left_out == {"repeated": 1}
    assert stage.kind.unit == "prompts"
    assert stage.freeze().id == row.id


def test_every_judged_answer_to_a_prompt_is_a_reward(store: Store, stage: Freezing) -> None:
    """Of all events that asked the same: the large judge's first, the newest, the gate's never; an answer
    that nobody judged is known without one.
    """
    old, new = (add_trace(store, name, Split.TRAIN, cluster="c", question="same?") for name in ("o", "n"))
    near = add_trace(store, "near", Split.TRAIN, cluster="c", question="Same!")
    scores = {"small": 1.0, "both": 2.0, "twice": 3.0, "gate": 4.0, "none": None}
    for at, name in enumerate(scores):
        one = add_candidate(store, old, name, sample=at)
        if name in {"small", "both", "twice"}:
            add_verdict(store, old, one, reward=scores[name] if name != "both" else 9.0)
        if name == "both":
            add_verdict(store, old, one, role="large", reward=2.0)
            add_verdict(store, old, one, reward=7.0, version="v2")
        if name == "twice":
            add_verdict(store, old, one, reward=5.0, version="v2")
        if name == "gate":
            add_verdict(store, old, one, role="gate", reward=4.0)
    add_verdict(store, near, logged(store, near), reward=6.0)
    add_candidate(store, new, "a placeholder", unshown=True)
    add_verdict(store, new, logged(store, new), reward=None, abstention="refused")
    (found,) = frozen(stage).values()
    assert found.prompt[0].content == "Same!", "the newest stands for its cluster"
    assert [each.reward for each in found.answers] == [6.0]
    moved = update(table(TraceRow)).where(table(TraceRow).c.id == near).values(split="gate")
    store.write(lambda c: c.execute(moved))
    (found,) = frozen(stage).values()
    rewards = {each.answer[0].content: each.reward for each in found.answers}
    assert rewards == {
        "logged words": None, "small": 1.0, "both": 2.0, "twice": 5.0, "gate": None, "none": None,
    }  # fmt: skip


def test_recorded_tool_results_are_replayed(store: Store, stage: Freezing) -> None:
    """The policy is asked behind the last of them, and only what followed there answers that."""
    trace = add_trace(store, "tools", Split.TRAIN)
    said(store, trace, [CALL, RESULT, *answer("In Rome.")])
    add_verdict(store, trace, logged(store, trace), reward=8.0)
    add_candidate(store, trace, "sampled without a result")
    (found,) = frozen(stage).values()
    assert [message.role for message in found.prompt] == ["user", "assistant", "tool"]
    (known,) = found.answers
    assert (known.answer[0].content, known.reward) == ("In Rome.", 8.0)


def test_the_caps_of_a_snapshot_hold_for_prompts(store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """One contributor, near-copies, age, and the most of a snapshot; each is counted."""
    add_traces(store, [f"flood {n}" for n in range(4)], Split.TRAIN, subject="flood")
    twin = " ".join(f"word{n}" for n in range(60))
    for name in ("one", "two", "three"):
        add_trace(store, name, Split.TRAIN, question=f"{twin}", cluster=name)
    day = 86_400.0
    capped = stage_of(store, clock, tmp_path, max_source_pairs=2, max_alike=2).drafted()
    assert (len(capped.ids), capped.left_out) == (4, {Reason.CONTRIBUTOR: 2, Reason.ALIKE: 1})
    assert len(stage_of(store, clock, tmp_path, max_pairs=3).drafted().ids) == 3
    clock.advance(30 * day)
    aged = stage_of(store, clock, tmp_path, max_age_days=1)
    with pytest.raises(NoPreferencesError, match=r"7 older than policy\.curation\.max_age_days"):
        aged.drafted()


def test_what_runs_learned_from_is_replayed(store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """An old prompt has its part of a full snapshot; a run by another method is no reason."""
    old = add_traces(store, ["old 0", "old 1"], Split.TRAIN)
    put(
        store,
        SnapshotRow,
        id="s",
        path="s",
        pairs=2,
        preference_ids=[],
        trace_ids=old,
        note="",
        created_at=1.0,
    )
    add_traces(store, [f"new {n}" for n in range(8)], Split.TRAIN)
    stage = stage_of(store, clock, tmp_path, max_pairs=4, replay_share=0.25)
    run = {"state": "done", "step": 1, "reason": "", "started_at": 1.0, "snapshot_id": "s"}
    put(store, RunRow, id="dpo", recipe={"method": "dpo"}, **run)
    assert set(stage.drafted().ids).isdisjoint(old)
    put(store, RunRow, id="ppo", recipe={"method": "ppo"}, **run)
    assert len(set(stage.drafted().ids).intersection(old)) == 1
    assert set(stage.drafted(newest=4).ids).intersection(old)


def test_new_events_are_new_prompts(store: Store, stage: Freezing) -> None:
    """The schedule waits for those of the train split."""
    add_traces(store, ["a", "b"], Split.TRAIN, stored_at=5.0)
    add_traces(store, ["c"], Split.TRAIN, stored_at=50.0)
    add_traces(store, ["d"], Split.GATE, stored_at=50.0)
    counts = [store.read(lambda c, at=at: stage.kind.since(c, at, most=10)) for at in (None, 10.0)]  # type: ignore[misc]
    assert counts == [3, 1]


def test_no_answer_of_a_sounding_is_known(store: Store, stage: Freezing) -> None:
    """What a policy under training answered earns a later one nothing, whatever a judge gave it."""
    trace = add_trace(store, "one", Split.TRAIN)
    sounded = add_candidate(store, trace, "sounded words", batch="run", origin="sounded")
    add_verdict(store, trace, sounded, role="large", reward=9.0)
    (prompt,) = frozen(stage).values()
    assert [message.content for known in prompt.answers for message in known.answer] == ["logged words"]

"""An adapter leads to its traces, and a trace to the adapters that learned from it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from daemon.cli.app import app
from daemon.cli.lineage import text_of
from daemon.config.settings import load
from daemon.store import lineage, preferences, runs
from daemon.store.snapshots import Held
from daemon.store.store import Store
from daemon.store.tables import AdapterRow, EvaluationRow
from daemon.wiring.parts import Wiring
from policies.records import Split
from tests.daemon.configuration import write
from tests.daemon.preferring import freeze, prefer
from tests.daemon.stages.seeding import add_label, add_labelled, add_trace, add_verdicts, put

NAME = "support-agent-00000000000a"


def fill(store: Store) -> tuple[int, int]:
    """Three pairs, two of which are in the adapter's snapshot; returns the first one's answers' ids."""
    first, second, third = prefer(store, ["e1", "e2", "e3"])
    pair = store.read(lambda c: lineage.of_trace(c, "e1", sources={"agent"}))[0]["preferences"][0]
    trace = store.read(lambda c: lineage.of_trace(c, "e1", sources={"agent"}))[0]["id"]
    chosen, rejected = pair["chosen_id"], pair["rejected_id"]
    add_verdicts(store, [{"trace_id": trace, "candidate_id": chosen, "reward": 8.0}])
    add_verdicts(store, [{"trace_id": trace, "candidate_id": rejected, "reward": 3.0}])
    add_label(store, trace, min(chosen, rejected), max(chosen, rejected), "a")
    freeze(store, "snapshot-1", [first, second])
    freeze(store, "snapshot-2", [third], at=2.0)

    def learn(name: str, snapshot: str, adapter: str | None, at: float) -> None:
        begun: dict[str, Any] = {"recipe": {"method": "dpo"}, "parent": None, "pid": 1, "now": at}
        store.write(lambda c: runs.begin(c, run=name, snapshot_id=snapshot, **begun))
        state: runs.State = "done" if adapter else "failed"
        store.write(lambda c: runs.end(c, name, state=state, reason="", now=at, adapter=adapter))

    learn("run-1", "snapshot-1", NAME, 1.0)
    learn("run-2", "snapshot-1", None, 2.0)
    columns = {"digest": "d", "path": "p", "base_model": "base", "manifest": {}, "created_at": 3.0}
    put(store, AdapterRow, name=NAME, run_id="run-1", **columns)
    younger = {**columns, "digest": "d2"}
    put(store, AdapterRow, name="child", parent=NAME, **younger)
    decided = {"state": "decided", "decision": "promote", "reasons": [], "evidence": {}, "epoch": 0}
    put(store, EvaluationRow, adapter=NAME, created_at=4.0, decided_at=4.0, **decided)
    return chosen, rejected


def test_a_promoted_pair_is_followed_both_ways(store: Store) -> None:
    """From the adapter to the trace with its verdicts and label, and from that trace back to the adapter."""
    chosen, rejected = fill(store)
    verdicts = {"small"}
    store.write(lambda c: c.exec_driver_sql("UPDATE preference SET verdict_ids = '[1, 2]' WHERE id = 1"))

    down = store.read(lambda c: lineage.of_adapter(c, NAME))
    assert down is not None
    assert (down["decision"], down["run"]["id"], down["snapshot"]["id"]) == ("promote", "run-1", "snapshot-1")
    assert [pair["trace"] for pair in down["pairs"]] == ["e1", "e2"]
    pair = down["pairs"][0]
    assert (pair["chosen"]["id"], pair["rejected"]["id"]) == (chosen, rejected)
    assert [(each["candidate_id"], each["reward"]) for each in pair["verdicts"]] == [
        (chosen, 8.0),
        (rejected, 3.0),
    ]
    assert {each["judge"] for each in pair["verdicts"]} == verdicts
    assert [each["choice"] for each in pair["labels"]] == ["a"]

    (up,) = store.read(lambda c: lineage.of_trace(c, pair["trace"], sources={"agent"}))
    (preference,) = up["preferences"]
    assert preference["id"] == pair["preference"]
    (snapshot,) = preference["snapshots"]
    assert [(run["id"], run["adapter"], run["decision"]) for run in snapshot["runs"]] == [
        ("run-1", NAME, "promote"),
        ("run-2", None, None),
    ]
    assert len(up["answers"]) == 3
    assert len(up["verdicts"]) == 2
    assert [each["reviewer"] for each in up["labels"]] == ["ann"]


def test_an_answer_by_itself_is_followed_both_ways(store: Store) -> None:
    """Of a snapshot that holds answers: to its trace, verdict and label, and from that trace back. What has
    the number of a preference is not taken for one.
    """
    chosen, rejected = fill(store)
    freeze(store, "snapshot-3", [], at=3.0, answers=[rejected, chosen, 99])
    store.write(lambda c: c.exec_driver_sql("UPDATE run SET snapshot_id = 'snapshot-3' WHERE id = 'run-1'"))
    down = store.read(lambda c: lineage.of_adapter(c, NAME))
    assert down is not None
    assert (down["pairs"], [each["id"] for each in down["answers"]]) == ([], [rejected, chosen, 99])
    first, second, unknown = down["answers"]
    assert [(each["event_id"], each["verdicts"][0]["reward"]) for each in (first, second)] == [
        ("e1", 3.0),
        ("e1", 8.0),
    ]
    assert [each["reviewer"] for each in first["labels"]] == ["ann"]
    assert unknown == {"id": 99}
    text = text_of(down)
    assert "snapshot   snapshot-3, 3 answers" in text
    assert f"answer     {rejected} of agent/e1: " in text

    (up,) = store.read(lambda c: lineage.of_trace(c, "e1", sources={"agent"}))
    held = {each["id"]: [found["id"] for found in each["snapshots"]] for each in up["answers"]}
    assert held[chosen] == held[rejected] == ["snapshot-3"]
    assert [each["id"] for each in up["preferences"][0]["snapshots"]] == ["snapshot-1"]


def test_what_is_not_known_is_left_open(store: Store) -> None:
    """No adapter and no trace of the name; one that was not trained here; a pair whose rows are elsewhere."""
    fill(store)
    assert store.read(lambda c: lineage.of_adapter(c, "nothing")) is None
    assert store.read(lambda c: lineage.of_trace(c, "nothing", sources={"agent"})) == []
    assert store.read(lambda c: lineage.of_trace(c, "e1", sources={"other"})) == []
    child = store.read(lambda c: lineage.of_adapter(c, "child"))
    assert child is not None
    assert (child["ancestors"], child["run"], child["pairs"]) == ([NAME], None, [])
    freeze(store, "snapshot-1", [])
    store.write(
        lambda c: c.exec_driver_sql("UPDATE snapshot SET preference_ids = '[99]' WHERE id = 'snapshot-1'")
    )
    found = store.read(lambda c: lineage.of_adapter(c, NAME))
    assert found is not None
    assert found["pairs"] == [{"preference": 99}]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a filled store."""
    path = write(tmp_path)
    parts = Wiring(load(path))
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    fill(parts.store)
    add_trace(parts.store, "plain", Split.GATE)
    parts.close()
    return path


def test_the_commands_say_it(config: Path) -> None:
    """For people in lines, for scripts as one object."""
    run = CliRunner().invoke
    of_adapter = run(app, ["adapters", NAME, "--lineage", "-c", str(config)])
    assert of_adapter.exit_code == 0, of_adapter.output
    assert f"adapter    {NAME} of base, gate: promote" in of_adapter.stdout
    assert "snapshot   snapshot-1, 2 pairs" in of_adapter.stdout
    assert "pair       1 of agent/e1: sampled base answer" in of_adapter.stdout
    of_trace = run(app, ["trace", "e1", "-c", str(config)])
    assert f"adapter    {NAME} by run run-1 done, gate: promote" in of_trace.stdout
    assert "label      ann between" in of_trace.stdout
    as_json = json.loads(run(app, ["adapters", NAME, "--lineage", "--json", "-c", str(config)]).stdout)
    assert [pair["trace"] for pair in as_json["pairs"]] == ["e1", "e2"]
    (as_json,) = json.loads(run(app, ["trace", "plain", "--json", "-c", str(config)]).stdout)
    assert (as_json["split"], as_json["preferences"]) == ("gate", [])
    (listed,) = json.loads(run(app, ["adapters", NAME, "--json", "-c", str(config)]).stdout)
    assert listed["name"] == NAME


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["trace", "nothing"], "no trace 'nothing' is stored"),
        (["adapters", "nothing", "--lineage"], "there is no adapter nothing"),
        (["adapters", "nothing"], "there is no adapter nothing"),
        (["adapters", "--lineage"], "--lineage is of one adapter: name it"),
    ],
)
def test_what_is_not_there_is_said(config: Path, command: list[str], said: str) -> None:
    """As a wrong command."""
    done = CliRunner().invoke(app, [*command, "-c", str(config)])
    assert str(done.exception) == said
    assert type(done.exception).__name__ == "UsageError"


def test_prompts_and_labels_are_followed_both_ways(store: Store) -> None:
    """A trace whose prompt PPO learned on, and one whose label taught a reward model, lead to both runs."""
    trace = add_trace(store, "asked", Split.TRAIN)
    add_labelled(store, {"labelled": True}, split=Split.CALIBRATE)
    held = {"s-ppo": Held(trace_ids=[trace]), "s-reward": Held(label_ids=[1], labelled=1)}
    for name, each in held.items():
        store.write(
            lambda c, name=name, each=each: preferences.store_snapshot(c, name, name, each, note="", now=1.0)  # type: ignore[misc]
        )
        begun: dict[str, Any] = {"recipe": {"method": name[2:]}, "parent": None, "pid": 1, "now": 1.0}
        store.write(
            lambda c, name=name, begun=begun: runs.begin(c, run=f"run-{name}", snapshot_id=name, **begun)  # type: ignore[misc]
        )
    columns = {"digest": "d", "path": "p", "base_model": "base", "manifest": {}, "created_at": 3.0}
    put(store, AdapterRow, name=NAME, run_id="run-s-ppo", **columns)
    (asked,) = store.read(lambda c: lineage.of_trace(c, "asked", sources={"agent"}))
    (labelled,) = store.read(lambda c: lineage.of_trace(c, "labelled", sources={"agent"}))
    assert [each["runs"][0]["id"] for each in asked["snapshots"]] == ["run-s-ppo"]
    assert labelled["snapshots"] == []
    assert [each["runs"][0]["id"] for each in labelled["labels"][0]["snapshots"]] == ["run-s-reward"]
    found = store.read(lambda c: lineage.of_adapter(c, NAME))
    assert found is not None
    assert [each["event_id"] for each in found["prompts"]] == ["asked"]
    said = text_of(found)
    assert "1 prompts" in said
    assert "prompt     of agent/asked" in said

"""The state begins with what is needed from a person, and says of each part why it stands still."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from daemon.cli.operate import _status_text
from daemon.clock import FakeClock
from daemon.store.tables import (
    EvaluationRow,
    JudgementRow,
    PositionRow,
    PreferenceRow,
    RunRow,
    SnapshotRow,
    SpendRow,
    TraceRow,
)
from daemon.wiring.parts import Wiring
from daemon.wiring.service import training_schedule
from policies.records import Scope, Split
from policies.states import HaltSource
from policies.training.turn import SAMPLING, TRAINING, TURN, held
from tests.daemon.configuration import TEXT, settings
from tests.daemon.stages.seeding import (
    Within,
    add_adapter,
    add_candidate,
    add_label,
    add_labelled,
    add_traces,
    add_verdict,
    at_once,
    put,
    put_in_force,
    put_many,
    table,
)

NOW = 1_795_800_000.0
"""2026-11-27 17:20 UTC."""
BUDGET = "large-judge, family: gpt, daily_budget_usd: 5,"


@pytest.fixture
def parts(tmp_path: Path, clock: FakeClock) -> Iterator[Wiring]:
    clock.advance(NOW - clock.now())
    text = TEXT.replace("large-judge, family: gpt,", BUDGET).replace(
        "rollout: {", "rollout: {auto_promote: false, "
    )
    parts = Wiring(settings(tmp_path, text), clock)
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    yield parts
    parts.close()


def needed(parts: Wiring) -> list[str]:
    return list(parts.status()["needs"])


def waiting(parts: Wiring, **daemon: Any) -> dict[str, str]:
    return {row["part"]: row["waits"] for row in parts.status(daemon)["waits"]}


def preferences(to: Within, subjects: list[str]) -> None:
    """A preference of each subject."""
    names = [f"p{number}" for number in range(len(subjects))]
    ids = add_traces(to, names, Split.TRAIN, sampled_at=2.0, curated_at=3.0)
    pair = {"margin": 5.0, "difference": 1.0, "verdict_ids": [], "weight": 1.0, "soft": 0.9}
    rows = [
        {
            "trace_id": one,
            "cluster": "x",
            "contributor": subject,
            "chosen_id": one,
            "rejected_id": one,
            **pair,
        }
        for one, subject in zip(ids, subjects, strict=True)
    ]
    put_many(to, PreferenceRow, [{**row, "created_at": NOW} for row in rows])


def test_an_empty_store_names_what_a_newcomer_lacks(parts: Wiring) -> None:
    """Labels, preferences, and that nothing was read; the text begins with it."""
    labels, training = needed(parts)
    assert labels.startswith("50 labelled pairs are missing until the gate can decide, and no pair waits")
    assert training == "training waits for 256 more preferences (0 of 256 new preferences)"
    found = waiting(parts, training=training_schedule(parts).explain())
    assert found["ingest"] == "nothing was read yet: `rlaifd decode FILE` says what it makes of a log file"
    assert found["training"] == "0 new preferences of 256"
    assert found["sampling"] == "no prompt of the train, calibrate or audit split waits for answers"
    assert _status_text(parts.status()).startswith(f"needs        {labels}\nneeds        {training}\n")


def test_a_halt_comes_first_with_the_command(parts: Wiring) -> None:
    """Its scope, since when, and why."""
    parts.latch.halt(Scope.PROMOTION, reason="the win rate fell", source=HaltSource.ALERT, actor="am")
    assert needed(parts)[0] == (
        "promotion is halted since 2026-11-27 17:20 UTC: the win rate fell: "
        "`rlaifd resume promotion --reason …` lets it go on"
    )


def test_pairs_that_wait_for_people_name_the_command(parts: Wiring) -> None:
    """How many labels are missing, how many pairs wait; a labelled one does not wait any more."""

    def fill(to: Within) -> None:
        ids = add_traces(to, ["one", "two"], Split.AUDIT, sampled_at=2.0, curated_at=2.0)
        pairs = []
        for one in ids:
            answers = [add_candidate(to, one, f"answer {each}", sample=each, batch="b") for each in range(2)]
            asked = {"judge": "large", "role": "large", "kind": "pair", "purpose": "audit", "trace_id": one}
            pair = {"candidate_id": answers[0], "other_id": answers[1], "key": str(one)}
            fixed = {"state": "done", "attempts": 1, "not_before": 0.0, "created_at": 1.0}
            put(to, JudgementRow, **asked, **pair, **fixed)
            pairs.append(answers)
        add_label(to, ids[0], pairs[0][0], pairs[0][1], "a")

    at_once(parts.store, fill)
    (line,) = (each for each in needed(parts) if "labelled" in each)
    assert (
        "labelled pairs are missing until the gate can decide: `rlaifd review export` (1 pairs wait" in line
    )


def test_training_says_how_many_preferences_it_waits_for(parts: Wiring) -> None:
    """What a cap would leave out is said too, and why no run starts."""
    some = [f"subject:{number}" for number in range(20)]
    parts.store.write(lambda c: preferences(Within(c), [*some, *["subject:bob"] * 230]))
    state = parts.status({"training": training_schedule(parts).explain()})
    draft = state["draft"]
    assert state["needs"][-1] == (
        f"training waits for {64 - draft['kept']} more preferences ({draft['kept']} of 64 preferences)"
    )
    found = {row["part"]: row["waits"] for row in state["waits"]}
    assert found["training"] == "250 new preferences of 256"
    assert draft["stored"] - draft["kept"] > 100
    assert found["snapshot"].startswith(
        f"{draft['stored'] - draft['kept']} of the newest 250 preferences would be left out: "
    )
    assert found["snapshot"].endswith(draft["left_out"])


def test_a_run_under_way_waits_for_nothing(parts: Wiring) -> None:
    """Whatever the schedule says."""
    put(parts.store, SnapshotRow, id="s", path="s", pairs=1, preference_ids=[], note="", created_at=5.0)
    run = {"recipe": {}, "state": "running", "step": 1, "reason": "", "started_at": 5.0}
    put(parts.store, RunRow, id="r", snapshot_id="s", **run)
    assert "training" not in waiting(parts, training="a run is under way")


def queue(parts: Wiring, **columns: Any) -> None:
    """Three judgements that wait for the large judge."""
    ids = at_once_ids(parts)
    what = {"judge": "large", "role": "large", "kind": "score", "purpose": "audit"}
    fixed = {**what, "state": "open", "attempts": 1}
    rows = [
        {**fixed, "key": f"k{one}", "trace_id": one, "candidate_id": one, "not_before": 0.0, **columns}
        for one in ids
    ]
    put_many(parts.store, JudgementRow, [{**row, "created_at": NOW - row["trace_id"]} for row in rows])


def at_once_ids(parts: Wiring) -> list[int]:
    return add_traces(parts.store, ["q1", "q2", "q3"], Split.CALIBRATE, sampled_at=2.0)


def test_a_judge_that_fails_says_how(parts: Wiring) -> None:
    """The queue, its oldest, the provider's words, and until when."""
    queue(parts, error="asked POST http://j/v1: 401: invalid key", not_before=NOW + 600)
    assert waiting(parts)["judge large"] == (
        "3 judgements, the oldest since 2026-11-27 17:19 UTC: put back: asked POST http://j/v1: 401: invalid "
        "key; 3 wait until 2026-11-27 17:30 UTC or longer"
    )


def test_an_empty_purse_is_why_judging_stands(parts: Wiring) -> None:
    """The sums and the key, before what the judgements were put back with."""
    queue(parts, error="judge large: 5.0000 of 5.0000 US dollars", not_before=NOW + 600)
    put(parts.store, SpendRow, day="2026-11-27", judge="large", reserved_usd=1.0, settled_usd=4.5, calls=9)
    assert waiting(parts)["judge large"].endswith(
        ": 5.50 of 5.00 US dollars are spent or reserved today: they wait for 00:00 UTC, or for a higher "
        "judges.large.daily_budget_usd"
    )
    assert "spent today  large: 5.50 US dollars of 5.00" in _status_text(parts.status())


def test_a_halt_is_why_judging_stands(parts: Wiring) -> None:
    """Whatever else is wrong."""
    queue(parts)
    parts.latch.halt(Scope.JUDGING, reason="too dear", source=HaltSource.OPERATOR, actor="ann")
    assert waiting(parts)["judge large"].endswith(": judging is halted")


def test_abstentions_are_told_with_the_last_reason(parts: Wiring) -> None:
    """Of the newest verdicts."""
    (one, two, three) = at_once_ids(parts)
    add_verdict(parts.store, one, one, abstention="cut off", created_at=1.0)
    add_verdict(parts.store, two, two, abstention="refused", created_at=2.0)
    add_verdict(parts.store, three, three, reward=4.0, created_at=3.0)
    text = _status_text(parts.status())
    assert "abstentions  small: 2 of the newest 3 verdicts, the last: refused" in text


def test_reviewers_are_shown_with_their_agreement(parts: Wiring) -> None:
    """A reviewer of whom no two others agree has judges alone to agree with."""
    at_once(
        parts.store,
        lambda to: add_labelled(to, {"one": True, "two": False}, version=parts.named[2].version),
    )
    state = parts.status()
    assert state["reviewers"] == {"ann": {"labels": 2, "others": "", "gate judge": "1 of 2"}}
    assert "reviewer     ann: 2 labels, 1 of 2 as the gate judge" in _status_text(state)


def test_what_passed_waits_for_a_person_where_nobody_else_promotes(parts: Wiring) -> None:
    """Until it was in force once."""
    add_adapter(parts.store, "support-1")
    passed = {
        "adapter": "support-1",
        "state": "decided",
        "decision": "promote",
        "reasons": [],
        "evidence": {},
    }
    put(parts.store, EvaluationRow, **passed, created_at=1.0)
    line = "support-1 passed the gate and is not in force: `rlaifd promote support-1`"
    assert line in needed(parts)
    put_in_force(parts.store, "support-1", 1)
    assert line not in needed(parts)


def test_lag_and_prompts_in_hand_are_told(parts: Wiring) -> None:
    """How far behind the daemon says it is, and how many prompts sampling waits for."""
    place = {"source": "agent", "topic": "t", "partition": 0, "next_offset": 5, "updated_at": 1.0}
    put(parts.store, PositionRow, **place, records=5, stored=5, duplicates=0, revisions=0, dead_letters=0)
    ids = add_traces(parts.store, ["a", "b"], Split.TRAIN, stored_at=NOW)
    parts.store.write(lambda c: c.execute(update(table(TraceRow)).values(planned_at=NOW)))
    assert len(ids) == 2
    found = waiting(parts, lag={"agent": 120})
    assert found["ingest"] == "agent is 120 records behind"
    assert found["sampling"] == "2 of stages.sample_least (32) prompts wait for answers"
    assert "ingest" not in waiting(parts)


def test_who_waits_for_the_device_is_told(parts: Wiring) -> None:
    """Sampling while a training has it, and the other way round; nobody where it is free."""
    device = parts.settings.state_dir / TURN
    add_traces(parts.store, [str(number) for number in range(32)], Split.TRAIN, stored_at=NOW)
    parts.store.write(lambda c: c.execute(update(table(TraceRow)).values(planned_at=NOW)))
    assert "sampling" not in waiting(parts)
    with held(device, TRAINING):
        line = "a training has the device, and they take turns (training.turns)"
        assert waiting(parts)["sampling"] == line
        assert parts.curate.sampling.waits_for(at_once=True) == line
    with held(device, SAMPLING):
        found = waiting(parts)
        assert "sampling" not in found
        assert parts.status()["device"] == SAMPLING
    assert parts.status()["device"] == ""

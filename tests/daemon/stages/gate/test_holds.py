"""Where evidence is missing or a halt stands the adapter is held, and looked at again."""

from typing import Any

from daemon.clock import FakeClock
from daemon.stages.gate.evaluate import Advance
from daemon.store.store import Store
from daemon.store.tables import EvaluationRow, JudgementRow, LedgerRow
from policies.records import Role
from tests.daemon.stages.gate.world import NAME, World, halted, resumed, seeded
from tests.daemon.stages.seeding import Asked, add_adapter, by_length, count, judge, put_in_force, rows


def test_same_answers_tie_without_being_asked(world: World) -> None:
    """A candidate that says what the stable policy says is held, and nobody was paid."""
    world.comparer.candidate = world.comparer.stable
    done = world.run()
    assert done.decision == "hold"
    assert not [row for row in rows(world.store, JudgementRow) if row.purpose == "gate"]
    assert rows(world.store, EvaluationRow)[0].evidence["tie"] == 20


def test_a_judge_outage_is_not_a_bad_candidate(world: World) -> None:
    """Abstentions, flips and failed judgements are undecided: held, not rejected."""

    def _out(asked: Asked) -> dict[str, Any] | None:
        if "1" in asked.texts[0]:
            return None
        return {"flipped": True} if "2" in asked.texts[0] else {"abstention": "timeout"}

    done = world.run(_out)
    assert done.decision == "hold"
    assert rows(world.store, EvaluationRow)[0].evidence["undecided"] == 20
    assert any("0 of 20 gate prompts were decided" in reason for reason in done.reasons)


def test_without_a_gate_judge_nothing_is_sampled(world: World) -> None:
    """Held with that reason."""
    stage = world.stage(roles=frozenset({Role.SMALL}))
    stage.advance()
    done = stage.advance()
    assert done is not None
    assert done.decision == "hold"
    assert any("no gate judge" in reason for reason in done.reasons)
    assert world.comparer.calls == []


def test_a_gate_judge_that_is_taken_away_holds_the_attempt(world: World) -> None:
    """What nobody will judge is not waited for: the next adapter has its turn."""
    for _ in range(2):
        world.stage().advance()
    assert world.stage().advance() == Advance(1, NAME, "waiting")
    done = world.stage(roles=frozenset({Role.SMALL})).advance()
    assert done is not None
    assert (done.did, done.decision) == ("decided", "hold")
    assert any("no gate judge" in reason for reason in done.reasons)

    judge(world.store, by_length, limit=15)
    assert world.stage().advance() is None  # the judge is back, and not all is in
    judge(world.store, by_length)
    again = world.stage().advance()
    assert again is not None
    assert (again.did, again.decision) == ("reconsidered", "promote")


def test_missing_alignment_holds_and_names_the_judge(store: Store, clock: FakeClock) -> None:
    """No label, no promotion."""
    seeded(store, labelled=0)
    add_adapter(store, NAME)
    done = World(store, clock).run()
    assert done.decision == "hold"
    assert len([reason for reason in done.reasons if "unknown, no labelled pair" in reason]) == 3


def test_a_moved_stable_adapter_holds(world: World) -> None:
    """The comparison was with a policy that does not serve any more."""
    stage = world.stage()
    stage.advance()
    stage.advance()
    put_in_force(world.store, "test-new", 1)
    done = world.run()
    assert done.decision == "hold"
    assert "test-new is in force now" in done.reasons[0]


def test_a_halt_that_comes_last_still_holds(world: World) -> None:
    """The halts are read in the deciding transaction, not when the work began."""
    stage = world.stage()
    stage.advance()
    stage.advance()
    judge(world.store, by_length)
    halted(world)
    done = stage.advance()
    assert done is not None
    assert done.decision == "hold"
    assert done.reasons == ("halt: promotion is halted: drill",)


def test_a_held_adapter_is_looked_at_again_also_after_another_attempt(world: World) -> None:
    """A later adapter that was rejected does not hide a good one that was held."""
    halted(world)
    assert world.run().decision == "hold"
    add_adapter(world.store, "test-later", created_at=world.clock.now())
    world.refused["test-later"] = "digest differs"
    assert world.run().decision == "reject"
    resumed(world)
    world.clock.advance(60)
    done = world.stage().advance()
    assert done is not None
    assert (done.adapter, done.did, done.decision) == (NAME, "reconsidered", "promote")


def test_a_held_adapter_passes_when_the_halt_is_resumed(world: World) -> None:
    """The same answers and verdicts are looked at again; nobody is asked twice."""
    halted(world)
    assert world.run().decision == "hold"
    stage = world.stage()
    assert stage.advance() is None
    resumed(world)
    assert stage.advance() is None
    world.clock.advance(60)
    done = stage.advance()
    assert done is not None
    assert (done.did, done.decision) == ("reconsidered", "promote")
    assert len(world.comparer.calls) == 1
    assert [row.action for row in rows(world.store, LedgerRow)] == ["gate_hold", "gate_promote"]
    assert count(world.store, EvaluationRow) == 1

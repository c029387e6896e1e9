"""What may not serve is refused for the same reasons to a command and to an edit of the file."""

import pytest
import structlog
from sqlalchemy import text, update

from daemon.errors import AdapterRefusedError, HaltedError, RefusedError
from daemon.store import rollouts
from daemon.store.tables import EvaluationRow
from policies.records import Scope, Split
from policies.rollout import Assignment
from policies.states import HaltSource
from tests.daemon.stages.rollout.world import WHO, A, B, World, kinds
from tests.daemon.stages.seeding import add_traces, table


def refused_for_unknown(_: World) -> None:
    pass


def refused_for_corruption(world: World) -> None:
    world.publish(A)
    world.damage(A)


def refused_for_missing_weights(world: World) -> None:
    world.publish(A)
    (world.adapters / A / "adapter_model.safetensors").unlink()


def refused_by_the_gate(world: World) -> None:
    world.publish(A)
    world.judge(A, "reject", reasons=["win rate 0.31 ± 0.09", "KL 40 nats"])


def refused_for_no_evaluation(world: World) -> None:
    world.publish(A)
    world.store.write(lambda c: c.execute(text("DELETE FROM evaluation")))


def refused_for_no_decision(world: World) -> None:
    world.publish(A, decision=None)


def refused_for_a_hold(world: World) -> None:
    world.publish(A, decision="hold", reasons=["only 12 prompts"])


def refused_for_quarantine(world: World) -> None:
    world.publish(A)
    world.store.write(lambda c: rollouts.quarantine(c, A, reason="poisoned", at=1.0))


def refused_for_another_comparison(world: World) -> None:
    world.publish(A, against=B)


def refused_for_another_agent(world: World) -> None:
    world.publish(A)
    made = table(EvaluationRow)
    world.store.write(lambda c: c.execute(update(made).values(agent_version="v1")))
    add_traces(world.store, ["new"], Split.TRAIN, agent_version="v2")


def refused_for_another_base_model(world: World) -> None:
    world.publish(A)
    world.base_model = "another"


def refused_for_a_halt(world: World) -> None:
    world.publish(A)
    world.latch.halt(Scope.PROMOTION, reason="people disagree", source=HaltSource.OPERATOR, actor="bob")


REFUSALS = [
    (refused_for_unknown, "unknown", AdapterRefusedError, f"{A} is unknown"),
    (refused_for_corruption, "corrupted", AdapterRefusedError, "adapter_model.safetensors is not what was"),
    (refused_for_missing_weights, "corrupted", AdapterRefusedError, "No such file"),
    (refused_by_the_gate, "rejected", AdapterRefusedError, "rejected by the gate: win rate 0.31"),
    (refused_for_no_evaluation, "undecided", AdapterRefusedError, "was never evaluated"),
    (refused_for_no_decision, "undecided", AdapterRefusedError, "still being evaluated"),
    (refused_for_a_hold, "undecided", AdapterRefusedError, "held by the gate: only 12 prompts"),
    (refused_for_quarantine, "quarantined", AdapterRefusedError, "quarantined: poisoned"),
    (refused_for_another_comparison, "stale", AdapterRefusedError, f"compared with {B}, and the base model"),
    (refused_for_another_agent, "stale", AdapterRefusedError, "the agent's version v1, and v2 has the most"),
    (refused_for_another_base_model, "foreign", AdapterRefusedError, "was trained on base, and the policy"),
    (refused_for_a_halt, "halted", HaltedError, "promotion is halted (people disagree)"),
]


@pytest.mark.parametrize(
    ("arrange", "why", "error", "says"), REFUSALS, ids=lambda v: getattr(v, "__name__", "")
)
def test_a_command_is_refused_in_one_line(
    small: World, arrange: object, why: str, error: type[RefusedError], says: str
) -> None:
    """Each refusal names its reason, ends with exit code 3, and leaves file, store and target alone."""
    arrange(small)  # type: ignore[operator]
    before = small.file.read_bytes()
    with pytest.raises(error) as caught:
        small.rollout().promote(A, **WHO)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert small.file.read_bytes() == before
    assert small.rollout().in_force() == Assignment(None, 0)
    assert small.memory.serves == []
    assert small.value("rollout_refused_total", reason=why) == 1


@pytest.mark.parametrize(
    ("arrange", "why", "error", "says"), REFUSALS, ids=lambda v: getattr(v, "__name__", "")
)
def test_an_edit_is_refused_for_the_same_reasons(
    small: World, arrange: object, why: str, error: type[RefusedError], says: str
) -> None:
    """A refused wish in the file is a condition; what was in force stays; it is told once per content."""
    arrange(small)  # type: ignore[operator]
    small.edit(A)
    rollout = small.rollout()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            found = rollout.reconcile()
    assert (found.in_sync, found.stable, found.epoch) == (True, None, 0)
    assert [says in condition.message for condition in found.conditions] == [True]
    assert small.value("rollout_refused_total", reason=why) == 1
    assert len([line for line in logs if line["event"] == "rollout_condition"]) == 1
    assert [says in condition.message for condition in small.rollout().status().conditions] == [True]


def test_a_base_model_that_only_moved_is_the_same(small: World) -> None:
    """The state directory came to another machine with the model beside it."""
    small.base_model = "/new/models/base"
    small.publish(A)
    small.store.write(lambda c: c.execute(text("UPDATE adapter SET base_model = '/old/base'")))
    assert small.rollout().promote(A, **WHO).stable == A


def test_a_hub_model_at_another_commit_is_another_one(small: World) -> None:
    """The commit is pinned so that the weights cannot change under the adapters."""
    small.revision = "c" * 40
    small.publish(A)
    with pytest.raises(
        AdapterRefusedError, match="trained on base, and the policy's base model is base at ccccc"
    ):
        small.rollout().promote(A, **WHO)


def test_nothing_goes_back_to_another_base_model(small: World) -> None:
    """What is in force stays there, with a condition that says so; a rollback passes over the others."""
    for name in (A, B):
        small.publish(name)
        small.judge(name, "promote", against=small.rollout().in_force().stable)
        small.rollout().promote(name, **WHO)
    small.base_model = "another"
    rollout = small.rollout()
    found = rollout.reconcile()
    assert (found.stable, [condition.kind for condition in found.conditions]) == (B, ["foreign"])
    with pytest.raises(AdapterRefusedError, match=f"{A} was trained on base"):
        rollout.rollback(to=A, **WHO)
    rollout.rollback(**WHO)
    assert rollout.in_force().stable is None


def test_what_is_in_force_stays_when_the_base_model_is_replaced(small: World) -> None:
    """Under the same name, seen by a daemon that goes on: a condition that names both; nothing new is
    promoted, and a rollback goes to no adapter of the other one.
    """
    small.digest = "a" * 64
    rollout = small.promoted(A, B)
    small.digest = "b" * 64
    found = rollout.reconcile()
    assert (found.stable, kinds(found.conditions)) == (B, ["foreign"])
    assert "it fits no other" in str(found.conditions[0])
    rollout.rollback(**WHO)
    assert rollout.in_force().stable is None

"""The evaluate stage takes adapters through the gate, one attempt and one state at a time."""

import pytest

from daemon.errors import AdapterRefusedError
from daemon.store import evaluations, ledger
from daemon.store.tables import EvaluationRow, LedgerRow
from tests.daemon.stages.gate.world import NAME, World
from tests.daemon.stages.seeding import add_adapter, by_length, count, judge, put_in_force, rows


def test_a_better_adapter_is_promoted_state_by_state(world: World) -> None:
    """Opened, sampled, waiting while comparisons are out, decided; each with a fresh stage object."""
    did = []
    for _ in range(3):
        done = world.stage().advance()
        assert done is not None
        did.append(done.did)
    judge(world.store, by_length)
    decided = world.stage().advance()
    assert decided is not None
    assert [*did, decided.did] == ["opened", "sampled", "waiting", "decided"]
    assert decided.decision == "promote", decided.reasons
    (row,) = rows(world.store, EvaluationRow)
    assert (row.state, row.decision, row.evidence["win"], row.evidence["prompts"]) == (
        "decided",
        "promote",
        20,
        20,
    )
    assert world.stage().advance() is None


def test_the_decision_is_in_the_ledger_and_in_the_metrics(world: World) -> None:
    """One entry with the reasons, counters and gauges, and the chain holds."""
    world.run()
    (entry,) = rows(world.store, LedgerRow)
    assert (entry.action, entry.subject, entry.actor) == ("gate_promote", NAME, "gate")
    assert world.store.read(ledger.verify).broken_at is None
    assert world.gauge("gate_decisions_total", decision="promote") == 1
    assert world.gauge("gate_win_rate_ratio") == 1
    assert world.gauge("policy_entropy_nats", slot="challenger") == 0.53
    assert world.gauge("policy_entropy_nats", slot="stable") == 0.52
    assert world.gauge("policy_kl_nats") == 0.5


def test_the_report_names_what_is_set_aside(world: World) -> None:
    """And who had which role beside each judge's alignment."""
    world.overrides = ("judge-of-own-family",)
    world.run()
    (attempt,) = rows(world.store, EvaluationRow)
    assert attempt.evidence["overrides"] == ["judge-of-own-family"]
    assert {name: each["role"] for name, each in attempt.evidence["alignment"].items()} == {
        "small": "small",
        "large": "large",
        "gate": "gate",
    }


def test_quarantined_adapters_and_the_one_in_force_are_passed_over(world: World) -> None:
    """Neither is opened, by itself or by hand."""
    add_adapter(world.store, "test-bad", created_at=-2.0, quarantined="rolled back")
    add_adapter(world.store, "test-now", created_at=-1.0)
    put_in_force(world.store, "test-now", 1)
    opened = world.stage().advance()
    assert opened is not None
    assert opened.adapter == NAME
    for name in ("test-bad", "test-now", "test-none"):
        with pytest.raises(AdapterRefusedError, match=name):
            world.stage().open(name)


def test_an_attempt_can_be_asked_for_again(world: World) -> None:
    """By hand, after a decision: a new attempt, newly sampled."""
    world.run()
    opened = world.stage().open(NAME)
    assert (opened.did, world.stage().open(NAME)) == ("opened", opened)
    assert world.run().decision == "promote"
    assert count(world.store, EvaluationRow) == 2
    assert world.comparer.calls[0][3] != world.comparer.calls[1][3]


def test_a_pass_outlives_attempts_on_other_adapters(world: World) -> None:
    """It ends with a later attempt on the same adapter."""
    world.run()

    def passing() -> str | None:
        found = world.store.read(evaluations.newest_passed)
        return None if found is None else found.adapter

    assert passing() == NAME
    add_adapter(world.store, "test-bbb", created_at=1.0)
    world.comparer.figures = {"kl_sequence": 99.0}
    assert world.run().decision == "reject"
    assert passing() == NAME
    world.stage().open(NAME)
    assert passing() is None

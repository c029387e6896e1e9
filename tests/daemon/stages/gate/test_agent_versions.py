"""Evidence of one version of the agent passes no adapter for another."""

from sqlalchemy import update

from daemon.store import agentevidence
from daemon.store.store import Store
from daemon.store.tables import EvaluationRow, TraceRow
from policies.gate.decision import DecisionKind
from policies.records import Split
from tests.daemon.stages.gate.world import NAME, World
from tests.daemon.stages.seeding import Within, add_labelled, add_traces, at_once, rows, table


def traffic(store: Store, version: str | None, *, gate: int, other: int = 0) -> None:
    """So many gate prompts of a version, and other traces of it."""

    def work(to: Within) -> None:
        if gate:
            names = [f"{version}-gate{index}" for index in range(gate)]
            add_traces(to, names, Split.GATE, agent_version=version)
        if other:
            names = [f"{version}-train{index}" for index in range(other)]
            add_traces(to, names, Split.TRAIN, agent_version=version)

    at_once(store, work)


def labelled(world: World) -> None:
    """People agree with every judge, on traces that are older than versions are told."""
    at_once(world.store, lambda to: add_labelled(to, {f"audit{index}": True for index in range(30)}))


def test_the_gate_asks_about_the_version_with_the_most_traffic(bare: World) -> None:
    """And about prompts that are older than versions are told; the attempt has the version."""
    labelled(bare)
    traffic(bare.store, None, gate=5)
    traffic(bare.store, "v1", gate=10)
    traffic(bare.store, "v2", gate=20, other=40)
    assert bare.run().decision is DecisionKind.PROMOTE
    ((names, *_),) = bare.comparer.calls
    assert {name.split("-")[0] for name in names} == {"v2", "None"}
    assert len(names) == 25
    assert [row.agent_version for row in rows(bare.store, EvaluationRow)] == ["v2"]


def test_a_new_version_holds_until_it_has_enough_prompts(bare: World) -> None:
    """Nobody is asked before; then there is one new attempt, on the new version's prompts."""
    labelled(bare)
    traffic(bare.store, "v1", gate=20)
    traffic(bare.store, "v2", gate=9, other=60)
    held = bare.run()
    assert (held.decision, bare.comparer.calls) == (DecisionKind.HOLD, [])
    assert "agent version: v2 has 9 gate prompts so far; 10 are needed" in held.reasons
    assert bare.stage().advance() is None
    add_traces(bare.store, ["v2-more"], Split.GATE, agent_version="v2")
    assert bare.run().decision is DecisionKind.PROMOTE
    ((names, *_),) = bare.comparer.calls
    assert len(names) == 10
    assert bare.stage().advance() is None


def test_a_comparison_with_the_old_version_decides_nothing_for_the_new_one(bare: World) -> None:
    """The agent changes while the gate's judge is asked: held, and compared again once."""
    labelled(bare)
    traffic(bare.store, "v1", gate=20, other=20)
    for _ in range(2):
        bare.stage().advance()
    traffic(bare.store, "v2", gate=10, other=60)
    held = bare.run()
    assert held.decision is DecisionKind.HOLD
    assert (
        "agent version: the comparison was made with prompts of v1, and v2 has the most of the traffic now"
        in held.reasons
    )
    assert bare.run().decision is DecisionKind.PROMOTE
    assert [row.agent_version for row in rows(bare.store, EvaluationRow)] == ["v1", "v2"]


def test_what_passed_with_the_old_version_is_compared_again(bare: World) -> None:
    """It is not promoted: a pass that did not come into force in time is none for another agent."""
    labelled(bare)
    traffic(bare.store, "v1", gate=20, other=20)
    assert bare.run().decision is DecisionKind.PROMOTE
    assert bare.store.read(lambda c: agentevidence.outlived(c, stable=None, current="v1", limit=5)) is None
    traffic(bare.store, "v2", gate=10, other=60)
    assert bare.run().decision is DecisionKind.PROMOTE
    assert [row.agent_version for row in rows(bare.store, EvaluationRow)] == ["v1", "v2"]


def test_a_version_is_tried_once_however_the_traffic_turns(bare: World) -> None:
    """Two agents with the same traffic are no way to be asked until a comparison is won."""
    labelled(bare)
    traffic(bare.store, "v1", gate=20)
    traffic(bare.store, "v2", gate=20, other=40)
    bare.comparer.candidate = bare.comparer.stable  # ties: held
    assert bare.run().decision is DecisionKind.HOLD
    for _ in range(3):
        for version in ("v1", "v2"):
            made = table(TraceRow)
            newest = update(made).where(made.c.split == Split.TRAIN.value).values(agent_version=version)
            bare.store.write(lambda c, change=newest: c.execute(change))  # type: ignore[misc]
            for _ in range(4):
                bare.stage().advance()
    assert [row.agent_version for row in rows(bare.store, EvaluationRow)] == ["v2", "v1"]
    assert {row.adapter for row in rows(bare.store, EvaluationRow)} == {NAME}

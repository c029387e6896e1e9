"""Promotion, rollback and the reconciler."""

import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import structlog
import yaml
from sqlalchemy import text

from connectors.serving.directory import DirectoryTarget
from daemon.errors import AdapterRefusedError, HaltedError, RefusedError, RlaifdError
from daemon.rollout.rollout import BASE, Condition, InForce, Rollout
from daemon.store import ledger, rollouts
from daemon.store.store import Store, StoreError
from policies.records import Scope
from tests.daemon.rolloutworld import A, B, C, World

ROOT = Path(__file__).resolve().parents[2]
WHO = {"actor": "ann", "reason": "it is better"}


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    """On both databases, with the target in memory."""
    return World(store, tmp_path)


@pytest.fixture
def small(sqlite_store: Store, tmp_path: Path) -> World:
    """On SQLite only, for what does not depend on the database."""
    return World(sqlite_store, tmp_path)


def wished(world: World) -> str | None:
    document = yaml.safe_load(world.file.read_text())
    stable: str | None = document["spec"]["stable"]
    return stable


def kinds(conditions: tuple[Condition, ...]) -> list[str]:
    return [condition.kind for condition in conditions]


def test_before_any_change_the_base_model_is_in_force(world: World) -> None:
    """A fresh store and a fresh file agree on the base model at epoch 0."""
    found = world.rollout().reconcile()
    assert (found.in_sync, found.stable, found.epoch, found.conditions) == (True, None, 0, ())


def test_a_passed_adapter_is_promoted(world: World) -> None:
    """File, store, target, ledger and gauges all name it, with the actor and the reason."""
    world.publish(A)
    rollout = world.rollout()
    rollout.reconcile()
    found = rollout.promote(A, **WHO)
    assert (found.in_sync, found.conditions) == (True, ())
    assert rollout.in_force() == InForce(A, 1)
    assert wished(world) == A
    assert world.memory.serves[-1] == (A, str(world.adapters / A), 1)
    change = rollout.changes()[0]
    assert (change.actor, change.reason, change.previous) == ("ann", "it is better", None)
    assert world.store.read(ledger.verify).entries == 1
    assert world.value("rollout_epoch") == 1
    assert world.value("rollout_in_sync") == 1
    assert world.value("adapter_info", slot="stable", adapter=A) == 1
    assert world.value("adapter_info", slot="stable", adapter="base") is None
    assert world.value("rollouts_total", kind="promote") == 1


def test_promoting_what_is_in_force_changes_nothing(small: World) -> None:
    """A repeated command is done already."""
    small.publish(A)
    small.rollout().promote(A, **WHO)
    assert small.rollout().promote(A, **WHO).epoch == 1


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


def refused_for_a_halt(world: World) -> None:
    world.publish(A)
    world.latch.halt(Scope.PROMOTION, reason="people disagree", source="operator", actor="bob")


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
    assert small.rollout().in_force() == InForce(None, 0)
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


def test_an_edit_of_the_file_is_a_promotion(world: World) -> None:
    """The daemon adopts what a person wrote, after the same checks, with an epoch of its own."""
    world.publish(A)
    world.edit(A)
    found = world.rollout().reconcile()
    assert (found.in_sync, found.stable, found.epoch) == (True, A, 1)
    assert world.rollout().changes()[0].actor == "rollout.yaml"
    assert world.store.read(ledger.verify).entries == 1


def test_an_edit_back_is_a_rollback_by_config(world: World) -> None:
    """An adapter that was in force before, or the base model, needs no new comparison to come back."""
    world.publish(A)
    world.publish(B, against=A)
    rollout = world.rollout()
    rollout.reconcile()
    rollout.promote(A, **WHO)
    rollout.promote(B, **WHO)
    world.edit(A)
    assert rollout.reconcile().stable == A
    world.edit(None)
    assert rollout.reconcile().stable is None
    assert world.value("rollouts_total", kind="promote") == 2
    assert world.value("rollouts_total", kind="rollback") == 2


def test_the_way_back_to_the_base_model_is_open_during_a_halt(small: World) -> None:
    """`stable: null` needs no gate and no resume."""
    small.publish(A)
    small.rollout().promote(A, **WHO)
    small.latch.halt(Scope.PROMOTION, reason="x", source="operator", actor="bob")
    small.edit(None)
    assert small.rollout().reconcile().stable is None


def test_a_wish_waits_for_the_resume(small: World) -> None:
    """The reconciler looks at levels: what a halt refused comes into force when the halt is gone."""
    small.publish(A)
    small.latch.halt(Scope.PROMOTION, reason="x", source="operator", actor="bob")
    small.edit(A)
    rollout = small.rollout()
    assert kinds(rollout.reconcile().conditions) == ["refused"]
    small.latch.resume(Scope.PROMOTION, actor="bob", reason="fine")
    assert rollout.reconcile().stable == A


@pytest.mark.parametrize("broken", ["missing", "cut", "wrong", "binary", "empty"])
def test_an_invalid_file_leaves_the_last_good_state(small: World, broken: str) -> None:
    """Missing, cut off or wrong: what is in force stays, and a condition says why."""
    small.publish(A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    whole = small.file.read_bytes()
    content = {"cut": whole[:-5], "wrong": b"spec: {stabel: x}\n...\n", "binary": b"\xff\xfe", "empty": b""}
    if broken == "missing":
        small.file.unlink()
    else:
        small.file.write_bytes(content[broken])
    found = rollout.reconcile()
    assert (found.in_sync, found.stable, found.epoch) == (True, A, 1)
    assert kinds(found.conditions) == ["file_invalid"]
    assert small.value("rollout_condition", condition="file_invalid") == 1
    small.file.write_bytes(whole)
    assert rollout.reconcile().conditions == ()
    assert small.value("rollout_condition", condition="file_invalid") == 0


def test_a_file_cut_at_any_byte_changes_nothing(small: World) -> None:
    """No cut of a file that names another adapter brings another adapter into force."""
    small.publish(A)
    small.publish(B, against=A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    small.edit(B)
    whole = small.file.read_bytes()
    for length in range(len(whole) - 1):  # the last byte is the newline after the marker
        small.file.write_bytes(whole[:length])
        found = rollout.reconcile()
        assert (found.stable, kinds(found.conditions)) == (A, ["file_invalid"]), whole[:length]
    small.file.write_bytes(whole)
    assert rollout.reconcile().stable == B


def test_rollback_goes_to_the_adapter_before(world: World) -> None:
    """It re-points, quarantines what it goes back from and halts promotion; git cannot undo it."""
    world.publish(A)
    world.publish(B, against=A)
    rollout = world.rollout()
    rollout.promote(A, **WHO)
    rollout.promote(B, **WHO)
    found = rollout.rollback(actor="ann", reason="customers complain")
    assert (found.in_sync, found.stable, found.epoch) == (True, A, 3)
    assert wished(world) == A
    assert [(halt.scope, halt.source) for halt in world.latch.active()] == [(Scope.PROMOTION, "rollback")]
    world.edit(B)
    found = rollout.reconcile()
    assert found.stable == A
    assert kinds(found.conditions) == ["quarantined"]
    world.latch.resume(Scope.PROMOTION, actor="ann", reason="fixed")
    with pytest.raises(AdapterRefusedError, match="quarantined: customers complain"):
        rollout.promote(B, **WHO)
    assert world.store.read(ledger.verify).broken_at is None


def test_rollbacks_walk_back_to_the_base_model(small: World) -> None:
    """Each goes one adapter further back, past those in quarantine, and the last has nowhere to go."""
    small.publish(A)
    small.publish(B, against=A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    rollout.promote(B, **WHO)
    assert rollout.rollback(**WHO).stable == A
    assert rollout.rollback(**WHO).stable is None
    with pytest.raises(RefusedError, match="nothing to go back from") as caught:
        rollout.rollback(**WHO)
    assert caught.value.exit_code == 3


def test_rollback_works_during_a_halt_and_without_a_readable_file(small: World) -> None:
    """Neither a halt nor a file that is gone or cannot be written keeps it from happening."""
    small.publish(A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    small.latch.halt(Scope.PROMOTION, reason="x", source="operator", actor="bob")
    small.file.unlink()
    small.file.mkdir()  # nothing can be written there
    found = rollout.rollback(**WHO)
    assert (found.in_sync, found.stable) == (True, None)
    assert kinds(found.conditions) == ["file_invalid"]
    small.file.rmdir()
    small.edit(A)
    assert small.rollout().reconcile().stable is None


def test_rollback_skips_a_damaged_adapter(small: World) -> None:
    """It never re-points to files that are not what was published."""
    small.publish(A)
    small.publish(B, against=A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    rollout.promote(B, **WHO)
    small.damage(A)
    assert rollout.rollback(**WHO).stable is None


def test_rollback_to_a_named_adapter(small: World) -> None:
    """Only to one that was in force, is not in quarantine, and verifies; or to the base model."""
    for name, against in ((A, None), (B, A), (C, B)):
        small.publish(name, against=against)
    rollout = small.rollout()
    for name in (A, B):
        rollout.promote(name, **WHO)
    with pytest.raises(AdapterRefusedError, match="never in force"):
        rollout.rollback(**WHO, to=C)
    with pytest.raises(RefusedError, match="is in force"):
        rollout.rollback(**WHO, to=B)
    rollout.promote(C, **WHO)
    assert rollout.rollback(**WHO, to=A).stable == A
    with pytest.raises(AdapterRefusedError, match="quarantined"):
        rollout.rollback(**WHO, to=C)
    assert rollout.rollback(**WHO, to=BASE).stable is None
    assert rollout.rollback(**WHO, to=B).stable == B


def test_a_target_that_forgot_is_told_again(small: World) -> None:
    """After a server's restart the next look makes it serve what is in force."""
    small.publish(A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    small.memory.restart()
    assert kinds(small.rollout().status().conditions) == ["unserved"]
    assert rollout.reconcile().in_sync
    assert small.memory.served().adapter == A


def test_an_unreachable_target_is_a_condition(small: World) -> None:
    """The decision stands, in_sync says no, and the reconciler goes on when the target is back."""
    small.publish(A)
    rollout = small.rollout()
    small.memory.unreachable = True
    found = rollout.promote(A, **WHO)
    assert (found.in_sync, found.stable, kinds(found.conditions)) == (False, A, ["unserved"])
    assert small.value("rollout_in_sync") == 0
    small.memory.unreachable = False
    assert rollout.reconcile().in_sync
    assert small.memory.served().adapter == A


def test_a_damaged_adapter_in_force_is_reported_and_never_served_anew(small: World) -> None:
    """It stays where it serves; a target that lost it is not given damaged files."""
    small.publish(A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    small.damage(A)
    found = rollout.reconcile()
    assert (found.in_sync, found.stable, kinds(found.conditions)) == (False, A, ["corrupted"])
    small.memory.restart()
    rollout.reconcile()
    assert small.memory.served().adapter is None


def test_damage_that_keeps_size_and_times_is_found_in_time(small: World) -> None:
    """Files are hashed again now and then, whatever their times say."""
    small.publish(A)
    hashed: list[str] = []
    rollout = small.rollout()
    rollout._admission._verify = lambda _, name: hashed.append(name)
    rollout.promote(A, **WHO)
    for _ in range(5):
        rollout.reconcile()
    assert hashed == [A]
    small.clock.advance(301)
    rollout.reconcile()
    assert hashed == [A, A]


def test_an_adapter_in_force_that_is_quarantined_gives_way(small: World) -> None:
    """Whoever quarantines it, the next look falls back to the newest adapter that may serve."""
    small.publish(A)
    small.publish(B, against=A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    rollout.promote(B, **WHO)
    small.store.write(lambda c: rollouts.quarantine(c, B, reason="its snapshot was poisoned", at=2.0))
    found = rollout.reconcile()
    assert (found.in_sync, found.stable, found.epoch) == (True, A, 3)
    small.edit(C)  # and a refused wish does not keep it in force either
    small.store.write(lambda c: rollouts.quarantine(c, A, reason="poisoned too", at=3.0))
    found = rollout.reconcile()
    assert (found.stable, kinds(found.conditions)) == (None, ["refused"])


def test_a_stale_process_is_fenced_out(small: World) -> None:
    """One that still believes in an older epoch is refused by the target and by the store."""
    small.publish(A)
    rollout = small.rollout()
    stale = rollout.in_force()
    rollout.promote(A, **WHO)
    assert kinds(tuple(rollout._mirror.tell(stale))) == ["fenced"]
    with pytest.raises(RefusedError, match="epoch 0 is over"):
        rollout._move(stale, None, actor="x", reason="y", action="repoint")
    assert small.memory.served().adapter == A


def test_a_halt_between_check_and_change_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction that changes the state checks again; the file is put back as it was."""
    world.publish(A)
    rollout = world.rollout()
    before = world.file.read_bytes()
    intact = rollout._admission.intact

    def halt_meanwhile(adapter: str) -> object:
        world.latch.halt(Scope.PROMOTION, reason="just now", source="alert", actor="am", fingerprint="f")
        return intact(adapter)

    monkeypatch.setattr(rollout._admission, "intact", halt_meanwhile)
    with pytest.raises(HaltedError, match="just now"):
        rollout.promote(A, **WHO)
    assert world.file.read_bytes() == before
    assert rollout.in_force() == InForce(None, 0)


def test_a_command_that_was_killed_after_writing_the_file_is_carried_on(small: World) -> None:
    """The file is the wish: whoever looks next brings it into force after the checks."""
    small.publish(A)
    rollout = small.rollout()
    rollout._file.write(A)  # and then the power went
    assert small.rollout().reconcile().stable == A


def test_processes_take_turns(world: World, tmp_path: Path) -> None:
    """Commands and reconcilers at once: epochs rise by one, and all end up at the same adapter."""
    names = [f"agent-{number:012x}" for number in range(4)]
    for name in names:
        world.publish(name)
        world.rollout().promote(name, **WHO)  # been in force: they may come back at any time
        world.edit(None)
        world.rollout().reconcile()
    start = world.rollout().in_force().epoch
    url = world.store.url.render_as_string(hide_password=False)
    stores = [Store(url) for _ in range(4)]
    problems: list[BaseException] = []

    def command(name: str, store: Store) -> None:
        try:
            for _ in range(5):
                world.rollout(store).promote(name, **WHO)
                world.rollout(store).reconcile()
        except BaseException as error:  # noqa: BLE001 - told by the test below
            problems.append(error)

    threads = [threading.Thread(target=command, args=pair) for pair in zip(names, stores, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for store in stores:
        store.close()
    assert problems == []
    state = world.rollout().in_force()
    changes = world.rollout().changes(limit=1000)
    assert [change.epoch for change in changes] == list(range(state.epoch, 0, -1))
    assert state.epoch > start
    assert all(newer.previous == older.stable for newer, older in itertools.pairwise(changes))
    assert wished(world) == state.stable == world.memory.served().adapter
    assert world.store.read(ledger.verify).broken_at is None


def test_kill_9_at_any_moment_leaves_a_state_that_one_look_settles(tmp_path: Path) -> None:
    """After each of 40 kills: one adapter served whole, epochs in a row, a sound ledger, in sync at once."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.daemon.rollout_kill_sweep", str(tmp_path), "40"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["kills"] == 40
    assert result["faults"] == []
    assert result["changes"] > 5, "the kills landed before any change"


def lose_the_store(rollout: Rollout, world: World) -> None:
    world.store.write(lambda c: c.execute(text("ALTER TABLE adapter RENAME TO adapter_gone")))


def test_the_way_back_stays_open_without_the_store(small: World) -> None:
    """A running daemon obeys `stable: null` without its database, and goes on with it when it is back."""
    small.publish(A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    lose_the_store(rollout, small)
    found = rollout.reconcile()
    assert (found.in_sync, found.stable, kinds(found.conditions)) == (False, A, ["store_lost"])
    assert small.memory.served().adapter == A
    small.edit(None)
    assert rollout.reconcile().stable is None
    assert small.memory.served().adapter is None
    small.store.write(lambda c: c.execute(text("ALTER TABLE adapter_gone RENAME TO adapter")))
    found = rollout.reconcile()
    assert (found.in_sync, found.stable, found.epoch) == (True, None, 2)


def test_a_command_without_the_store_says_what_to_do(small: World) -> None:
    """One line, exit 1, with the way back to the base model."""
    small.publish(A)
    rollout = small.rollout()
    rollout.promote(A, **WHO)
    small.store.write(lambda c: c.execute(text("ALTER TABLE rollout RENAME TO rollout_gone")))
    with pytest.raises(StoreError, match="`stable: null` in") as caught:
        rollout.rollback(**WHO)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_an_unwritable_file_refuses_the_promotion(small: World) -> None:
    """What cannot be written down as wanted is not brought into force."""
    small.publish(A)
    small.file.unlink()
    small.file.mkdir()
    with pytest.raises(RlaifdError, match="cannot be written"):
        small.rollout().promote(A, **WHO)
    assert small.rollout().in_force() == InForce(None, 0)


def test_comments_and_mode_of_the_file_survive(small: World) -> None:
    """What people wrote above the first key, and who may read the file, stay."""
    small.publish(A)
    small.edit(None)
    small.file.chmod(0o640)
    small.rollout().promote(A, **WHO)
    assert small.file.read_text().startswith("# edited by hand\napiVersion")
    assert small.file.stat().st_mode & 0o777 == 0o640


def test_on_the_directory_target(sqlite_store: Store, tmp_path: Path) -> None:
    """Promotion and rollback move the links that a server follows."""
    serving = tmp_path / "serving"
    world = World(sqlite_store, tmp_path, DirectoryTarget(serving))
    world.publish(A)
    rollout = world.rollout()
    assert rollout.promote(A, **WHO).in_sync
    assert (serving / "current").resolve() == (world.adapters / A).resolve()
    (serving / "current").unlink()
    assert rollout.reconcile().in_sync
    assert (serving / "current").resolve() == (world.adapters / A).resolve()
    assert rollout.rollback(**WHO).in_sync
    assert not (serving / "current").exists()

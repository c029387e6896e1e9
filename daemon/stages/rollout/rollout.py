"""Rollout: what is wanted, what is in force, and making the target serve it.

rollout.yaml is what people want. The store holds what was decided: one row an epoch, and the quarantine.
The state in force is the file minus the quarantine, and the target mirrors it with its epoch. `reconcile`
looks at levels, not at events: it can be called at any time, by several processes, and after any kill.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from connectors.base import ServingTarget
from daemon import log
from daemon.clock import Clock
from daemon.errors import ConfigError, RefusedError, RlaifdError
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.stages.rollout import goal as goals
from daemon.stages.rollout.admission import AdapterRefusal, Admission, Verify
from daemon.stages.rollout.file import RolloutFile
from daemon.stages.rollout.goal import BASE
from daemon.stages.rollout.mirror import Condition, Mirror
from daemon.stages.rollout.quarantine import take_back
from daemon.stages.rollout.reporting import Reconciliation, Told
from daemon.stages.rollout.storelook import StoreLook, look
from daemon.stages.rollout.wishes import Wishes
from daemon.store import ledger, rollouts
from daemon.store.rollouts import Change
from daemon.store.store import Store, StoreError
from policies.basemodel import Base
from policies.records import Scope
from policies.rollout import (
    Assignment,
    ConditionKind,
    RefusalKind,
    RolloutSpec,
    WantedState,
    state_in_force,
)
from policies.states import HaltSource

__all__ = ["BASE", "Condition", "Reconciliation", "Rollout"]

FILE_ACTOR = "rollout.yaml"
QUARANTINE_ACTOR = "quarantine"

T = TypeVar("T")


class Rollout:
    """Promotes, rolls back and reconciles. Processes on one machine take turns through a lock file; over
    machines the store's epochs and the target's refusal of older ones keep a stale process out.
    """

    def __init__(
        self,
        *,
        store: Store,
        file: Path,
        targets: Sequence[ServingTarget],
        adapters_dir: Path,
        base: Callable[[], Base],
        latch: Latch,
        clock: Clock,
        metrics: Metrics,
        verify: Verify,
    ) -> None:
        self._store = store
        self._file = RolloutFile(file, lock=adapters_dir.parent / "rollout.lock")
        self._wishes = Wishes(self._file, seen=adapters_dir.parent / "rollout.seen.json")
        self._latch = latch
        self._clock = clock
        self._told = Told(metrics, targets=[target.name for target in targets])
        self._admission = Admission(adapters_dir=adapters_dir, base=base, verify=verify, clock=clock)
        self._mirror = Mirror(targets=targets, admission=self._admission)
        self._remembered: Assignment | None = None
        self._log = log.get("rollout")

    def in_force(self) -> Assignment:
        """What was decided last. Raises StoreError when the store cannot be read."""
        return self._reading(rollouts.in_force)

    def require_files(self) -> None:
        """Raises RlaifdError unless the files of what is in force are here: for a daemon that starts beside a
        leader, whose place it may take.
        """
        self._admission.require_files(self.in_force().stable)

    def changes(self, limit: int = 20) -> list[Change]:
        """The last changes of the adapter in force, newest first."""
        return self._reading(lambda connection: rollouts.changes(connection, limit=limit))

    def conditions(self) -> tuple[Condition, ...]:
        """What the last `reconcile` of this process found."""
        return self._told.conditions

    def status(self) -> Reconciliation:
        """What `reconcile` would find, changing nothing: for a command beside a running daemon."""
        self._admission.look()
        conditions: list[Condition] = []
        wish = self._wish(conditions)
        seen = self._reading(self._look)
        wanted = self._wanted(wish, seen, conditions)
        wanted = self._uncontradicted(wish, seen, wanted, conditions, True)
        if wanted.problem is None and wanted.stable != seen.state.stable:
            refusal = self._refusal(wanted.stable, seen.state)
            conditions += [Condition(ConditionKind.REFUSED, refusal.message)] if refusal else []
        trouble = self._mirror.look(seen.state)
        return Reconciliation(not trouble, seen.state.stable, seen.state.epoch, (*conditions, *trouble))

    def promote(self, adapter: str, *, actor: str, reason: str) -> Reconciliation:
        """Names the adapter in the file and brings it into force.

        Raises AdapterRefusedError or HaltedError, one line, and changes nothing then. That the target serves
        it already is told by `in_sync`: where it cannot be reached the reconciler goes on trying.
        """
        self._admission.look()
        with self._file.locked():
            state = self.in_force()
            if state.stable != adapter:
                refusal = self._refusal(adapter, state)
                if refusal is not None:
                    self._told.refused(refusal)
                    raise refusal.error()
            before = self._file.content()
            self._file.write(adapter)
            try:
                self._with_store(lambda: self._admit(adapter, actor=actor, reason=reason))
            except RlaifdError:
                self._file.restore(before)
                raise
            return self._reconcile()

    def rollback(self, *, actor: str, reason: str, to: str | None = None) -> Reconciliation:
        """Goes back to the adapter before (or `to`; BASE: the base model), quarantines the one that was in
        force and halts promotion. Works during a halt. Raises RefusedError when there is nothing to go back
        from, AdapterRefusedError when `to` was never in force, is quarantined or does not verify.
        """
        self._admission.look()
        with self._file.locked():
            return self._roll_back(self.in_force(), to, actor=actor, reason=reason)

    def step_back(self, *, epoch: int, actor: str, reason: str) -> Reconciliation:
        """A rollback to the adapter before, if that epoch is in force; if another is, it was made."""
        with self._file.locked():
            state = self.in_force()
            if state.epoch != epoch:
                return self._reconcile()
            return self._roll_back(state, None, actor=actor, reason=reason)

    def _roll_back(self, state: Assignment, to: str | None, *, actor: str, reason: str) -> Reconciliation:
        goal = self._goal(state, to)
        # The halt comes first: stopped between the two, nothing new is promoted on top of what is bad.
        self._with_store(
            lambda: self._latch.halt(
                Scope.PROMOTION,
                reason=f"rollback of {_name(state.stable)}: {reason}",
                source=HaltSource.ROLLBACK,
                actor=actor,
                fingerprint=f"rollback-{state.epoch}",
            )
        )
        self._with_store(lambda: self._move(state, goal, actor=actor, reason=reason, action="rollback"))
        try:
            self._file.write(goal)
        except RlaifdError as error:
            # The quarantine holds without the file: it still names what may not serve.
            self._log.warning("rollout_file_not_written", error=str(error))
        return self._reconcile()

    def readmit(self, adapter: str, *, actor: str, reason: str) -> None:
        """Takes an adapter out of quarantine, with its ledger entry. Nothing comes into force by it, and the
        gate's decision counts as before. Raises AdapterRefusedError when it is unknown or not quarantined.
        """
        now = self._clock.now()
        self._with_store(
            lambda: self._store.write(lambda c: take_back(c, adapter, at=now, actor=actor, reason=reason))
        )
        self._log.warning("adapter_readmitted", adapter=adapter, actor=actor, reason=reason)

    def reconcile(self, *, leads: bool = True) -> Reconciliation:
        """Brings the file's wish into force where it is admitted, and the target to what is in force. While
        another daemon leads only the latter: one database has one leader, and its file decides.

        Raises nothing for what is wrong outside: that is a condition, logged once per content of the file.
        """
        self._admission.look()
        with self._file.locked():
            return self._reconcile(leads=leads)

    def _reconcile(self, *, leads: bool = True) -> Reconciliation:
        conditions: list[Condition] = []
        wish = self._wish(conditions)
        try:
            seen = self._store.read(self._look)
            wanted = self._wanted(wish, seen, conditions)
            wanted = self._uncontradicted(wish, seen, wanted, conditions, leads)
            try:
                state = self._settle(seen, wanted, conditions) if leads else seen.state
            except RefusedError as error:  # another machine was faster: its change is the state now
                conditions.append(Condition(ConditionKind.REFUSED, str(error)))
                state = self._store.read(rollouts.in_force)
            self._told.changed(state, self._store.read(rollouts.changes))
            self._remembered = state
            if wish is not None:
                self._wishes.note(wish, seen.state, state, seen.decided)
            trouble = self._mirror.converge(state)
        except (SQLAlchemyError, StoreError) as error:
            return self._without_store(wish, conditions, error)
        return self._told.reconciled(
            Reconciliation(not trouble, state.stable, state.epoch, (*conditions, *trouble))
        )

    def _wish(self, conditions: list[Condition]) -> RolloutSpec | None:
        try:
            return self._file.read()
        except ConfigError as error:
            conditions.append(Condition(ConditionKind.FILE_INVALID, str(error)))
            return None

    def _wanted(self, wish: RolloutSpec | None, seen: StoreLook, conditions: list[Condition]) -> WantedState:
        wanted = state_in_force(wish, seen.quarantined, seen.last_good)
        if wish is not None and wish.stable is not None and wish.stable in seen.quarantined:
            why = seen.quarantined[wish.stable]
            conditions.append(
                Condition(ConditionKind.QUARANTINED, f"{self._file.path}: {wanted.problem}: {why}")
            )
        foreign = seen.foreign.get(seen.state.stable or BASE)
        if foreign is not None:
            fix = "`rlaifd rollback --to base`, or the configuration as it was"
            conditions.append(Condition(ConditionKind.FOREIGN, f"in force: {foreign}: {fix}"))
        return wanted

    def _uncontradicted(
        self,
        wish: RolloutSpec | None,
        seen: StoreLook,
        wanted: WantedState,
        conditions: list[Condition],
        leads: bool,
    ) -> WantedState:
        """What is wanted, but for a wish that has lost to another or is not this daemon's to carry out."""
        if wish is None or wanted.problem is not None or wish.stable == seen.state.stable:
            return wanted
        found = self._wishes.contradiction(wish, seen.state, seen.decided, leads=leads)
        if found is None:
            return wanted
        conditions.append(found)
        return WantedState(seen.last_good, "the file is contradicted")

    def _look(self, connection: Connection) -> StoreLook:
        return look(self._admission, connection)

    def _settle(self, seen: StoreLook, wanted: WantedState, conditions: list[Condition]) -> Assignment:
        """Brings what is wanted into force; where it is refused, what may still serve stays."""
        for condition in conditions:
            if condition.kind is ConditionKind.QUARANTINED:
                self._told.refused(
                    AdapterRefusal(RefusalKind.QUARANTINED, condition.message), content=self._file.digest()
                )
        if wanted.stable == seen.state.stable:
            return seen.state
        reason = wanted.problem or "the file names it"
        if wanted.problem is None and wanted.stable is not None:
            try:
                refusal = self._refusal(wanted.stable, seen.state)
                if refusal is None:
                    return self._admit(wanted.stable, actor=FILE_ACTOR, reason=reason)
                message = refusal.message
                self._told.refused(refusal, content=self._file.digest())
            except RefusedError as error:
                message = str(error)
            conditions.append(Condition(ConditionKind.REFUSED, f"{self._file.path}: {message}"))
            wanted = WantedState(seen.last_good, "the adapter in force was quarantined")
            if wanted.stable == seen.state.stable:
                return seen.state
        actor = FILE_ACTOR if wanted.problem is None else QUARANTINE_ACTOR
        return self._move(seen.state, wanted.stable, actor=actor, reason=reason, action="repoint")

    def _refusal(self, adapter: str | None, state: Assignment) -> AdapterRefusal | None:
        if adapter is None:
            return None
        allowed = self._reading(lambda connection: self._admission.allowed(connection, adapter, state))
        return allowed or self._admission.intact(adapter)

    def _admit(self, adapter: str, *, actor: str, reason: str) -> Assignment:
        """Checks and changes in one transaction. Raises the refusal."""

        def work(connection: Connection) -> Assignment:
            rollouts.serialise(connection)
            state = rollouts.in_force(connection)
            if state.stable == adapter:
                return state
            refusal = self._admission.allowed(connection, adapter, state)
            if refusal is not None:
                raise refusal.error()
            return self._advance(connection, state, adapter, actor=actor, reason=reason, action="promote")

        return self._store.write(work)

    def _move(
        self, state: Assignment, goal: str | None, *, actor: str, reason: str, action: str
    ) -> Assignment:
        """Re-points to what was in force before. A rollback quarantines what it goes back from."""

        def work(connection: Connection) -> Assignment:
            rollouts.serialise(connection)
            if action == "rollback" and state.stable is not None:
                rollouts.quarantine(connection, state.stable, reason=reason, at=self._clock.now())
            return self._advance(connection, state, goal, actor=actor, reason=reason, action=action)

        return self._store.write(work)

    def _advance(
        self,
        connection: Connection,
        state: Assignment,
        stable: str | None,
        *,
        actor: str,
        reason: str,
        action: str,
    ) -> Assignment:
        now = self._clock.now()
        wish = self._file.digest() if action == "promote" or actor == FILE_ACTOR else ""
        moved = rollouts.advance(
            connection, after=state, stable=stable, actor=actor, reason=reason, at=now, wish=wish
        )
        if moved is None:
            raise RefusedError(
                f"epoch {state.epoch} is over: another process changed the rollout; look again"
            )
        detail = {"epoch": moved.epoch, "from": state.stable, "to": stable}
        ledger.append(
            connection,
            at=now,
            actor=actor,
            action=action,
            subject=_name(stable),
            reason=reason,
            detail=detail,
        )
        return moved

    def _goal(self, state: Assignment, to: str | None) -> str | None:
        """Where a rollback goes. Raises RefusedError when there is nowhere."""
        if to is not None and to != BASE:
            return self._reading(lambda connection: goals.named(self._admission, connection, state, to))
        goals.require_adapter(state)
        if to == BASE:
            return None
        seen = self._reading(self._look)
        changes = self._reading(rollouts.changes)
        return goals.before(self._admission, state, changes, {*seen.quarantined, *seen.foreign})

    def _without_store(
        self, wish: RolloutSpec | None, conditions: list[Condition], error: Exception
    ) -> Reconciliation:
        """Without the store nothing new comes into force, but the way back to the base model stays open: a
        process that knows its epoch obeys `stable: null` in the file.
        """
        conditions.append(Condition(ConditionKind.STORE_LOST, " ".join(str(error).split())[:300]))
        state = self._remembered or Assignment(None, 0)
        obeyed = wish is not None and wish.stable is None and not self._wishes.has_lost(wish, state)
        if obeyed and self._remembered is not None:
            state = Assignment(None, state.epoch)
            conditions += self._mirror.tell(state)
        return self._told.reconciled(Reconciliation(False, state.stable, state.epoch, tuple(conditions)))

    def _reading(self, work: Callable[[Connection], T]) -> T:
        return self._with_store(lambda: self._store.read(work))

    def _with_store(self, work: Callable[[], T]) -> T:
        """The work's answer. A lost store is a StoreError that names the way back to the base model."""
        try:
            return work()
        except (SQLAlchemyError, StoreError) as error:
            raise StoreError(
                f"{' '.join(str(error).split())[:300]}; where `rlaifd run` is still up, `stable: null` in "
                f"{self._file.path} brings back the base model without the store"
            ) from error


def _name(adapter: str | None) -> str:
    return adapter or BASE

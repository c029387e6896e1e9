"""Where a rollback goes."""

from collections.abc import Collection

from sqlalchemy import Connection

from daemon.errors import AdapterRefusedError, RefusedError
from daemon.stages.rollout.admission import Admission
from daemon.store import rollouts
from daemon.store.rollouts import Change
from policies.rollout import Assignment

BASE = "base"
"""How `rollback(to=...)` names the base model."""


def before(
    admission: Admission, state: Assignment, changes: Collection[Change], barred: Collection[str]
) -> str | None:
    """The newest adapter before the one in force that is not barred and verifies, else the base model (None).
    `changes` come newest first. Raises RefusedError when there is nothing to go back from.
    """
    require_adapter(state)
    for change in changes:
        former = change.previous
        if former is None:
            return None
        if former == state.stable or former in barred or admission.intact(former):
            continue
        return former
    return None


def named(admission: Admission, connection: Connection, state: Assignment, to: str) -> str:
    """An adapter by its name. Raises RefusedError when it is in force, AdapterRefusedError when it never was,
    is quarantined, or does not verify.
    """
    if to == state.stable:
        raise RefusedError(f"{to} is in force: there is nothing to go back to")
    found = rollouts.known(connection, to)
    if found is None or not rollouts.was_in_force(connection, to):
        raise AdapterRefusedError(f"{to} was never in force: `rlaifd promote {to}` asks the gate")
    if found.quarantine is not None:
        raise AdapterRefusedError(f"{to} is quarantined: {found.quarantine}")
    refusal = admission.foreign(to, found.base) or admission.intact(to)
    if refusal is not None:
        raise refusal.error()
    return to


def require_adapter(state: Assignment) -> None:
    """Raises RefusedError while the base model is in force."""
    if state.stable is None:
        raise RefusedError("the base model is in force: there is nothing to go back from")

"""One look at the store: what is in force, and what may be."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from daemon.stages.rollout.admission import Admission
from daemon.store import rollouts
from policies.rollout import Assignment, last_good


@dataclass(frozen=True, slots=True)
class StoreLook:
    """The last change, the newest adapter that may still serve, the quarantine."""

    state: Assignment
    last_good: str | None
    quarantined: Mapping[str, str]
    foreign: Mapping[str, str]
    """Adapters of another base model than the policy's, each with what that says."""
    decided: frozenset[str]
    """Digests of the files that were brought into force."""


def look(admission: Admission, connection: Connection) -> StoreLook:
    """If the policy's base model changes, the adapter in force stays. A rollback never picks an adapter of
    another base model.
    """
    quarantined = rollouts.quarantined(connection)
    state = rollouts.in_force(connection)
    foreign = {
        name: refusal.message
        for name, base in rollouts.bases(connection).items()
        if (refusal := admission.foreign(name, base)) is not None
    }
    changes = rollouts.changes(connection)
    history = (change.stable for change in changes)
    good = last_good(history, in_force=state.stable, quarantined=quarantined, foreign=foreign)
    decided = frozenset(change.wish for change in changes if change.wish)
    return StoreLook(state, good, quarantined, foreign, decided)

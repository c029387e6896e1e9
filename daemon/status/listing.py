"""The published adapters, as commands list them and say where one comes from."""

from typing import Any

from sqlalchemy import Connection

from daemon.errors import UsageError
from daemon.store import rollouts
from daemon.store.adapters import newest
from daemon.store.evaluations import cut_off, latest
from daemon.store.lineage import of_adapter
from daemon.store.store import Store

LISTED = ("name", "base_model", "parent", "run_id", "created_at", "quarantined_at", "quarantine_reason")


def adapters(store: Store, name: str | None = None) -> list[dict[str, Any]]:
    """Every published adapter, newest first, with its last decision; or the one of that name alone.

    Raises UsageError where there is none of it.
    """
    found = store.read(_adapters)
    if name is None:
        return found
    named = [each for each in found if each["name"] == name]
    if not named:
        raise UsageError(f"there is no adapter {name}")
    return named


def lineage(store: Store, name: str) -> dict[str, Any]:
    """Where an adapter comes from. Raises UsageError where there is none of that name."""
    found = store.read(lambda c: of_adapter(c, name))
    if found is None:
        raise UsageError(f"there is no adapter {name}")
    return found


def _adapters(connection: Connection) -> list[dict[str, Any]]:
    stable = rollouts.in_force(connection).stable
    found = []
    for adapter in newest(connection):
        evaluation = latest(connection, adapter.name)
        cut = cut_off(evaluation.evidence) if evaluation else None
        found.append(
            {
                **{name: getattr(adapter, name) for name in LISTED},
                "base_digest": adapter.manifest.get("base_digest"),
                "in_force": adapter.name == stable,
                "decision": evaluation.decision if evaluation else None,
                "reasons": list(evaluation.reasons) if evaluation else [],
                "cut_off": None if cut is None else cut.counts,
            }
        )
    return found

"""The settings in force, in the ledger whenever they change: who lowers a limit leaves a trace.

Kept is what decides what is trained and promoted, and who judges: policy, judges, overrides, training, and
who writes the rollout file. No secret and no path of one is among it.
"""

from typing import Any

from sqlalchemy import Connection

from daemon.config.settings import Settings
from daemon.log import get
from daemon.store import ledger
from daemon.store.store import Store

ACTION = "settings"
SECRET = {"api_key", "api_key_file"}
MOST_TOLD = 10
"""Changes in the entry's reason; its detail has all."""

log = get("settings")


def governing(settings: Settings) -> dict[str, Any]:
    """What is kept, by its key in the configuration, as the ledger gives it back."""
    judges = {name: judge.model_dump(mode="json", exclude=SECRET) for name, judge in settings.judges.items()}
    kept = {
        "policy": settings.policy.model_dump(mode="json", exclude={"sampling": {"api_key_file"}}),
        "judges": judges,
        "overrides": list(settings.overrides),
        "training": settings.training.model_dump(mode="json"),
        "rollout": settings.rollout.model_dump(mode="json", include={"auto_promote"}),
    }
    found: dict[str, Any] = ledger.portable(kept)
    return found


def record(store: Store, settings: Settings, *, actor: str, now: float) -> dict[str, list[Any]]:
    """Writes an entry where the settings are not those of the last one of this policy; returns by its key
    what changed, from what to what. The first entry changes nothing and says all.
    """
    subject, kept = settings.policy.name, governing(settings)

    def work(connection: Connection) -> dict[str, list[Any]] | None:
        ledger.lock(connection)
        last = ledger.newest(connection, action=ACTION, subject=subject)
        before = None if last is None else last["settings"]
        if before == kept:
            return None
        changed = {} if before is None else changes(before, kept)
        detail = {"changed": changed, "settings": kept}
        reason = told(changed) if changed else "the first settings of this policy"
        ledger.append(
            connection, at=now, actor=actor, action=ACTION, subject=subject, reason=reason, detail=detail
        )
        return changed

    if store.read(lambda c: _same(ledger.newest(c, action=ACTION, subject=subject), kept)):
        return {}
    changed = store.write(work) or {}
    for key, (old, new) in changed.items():
        log.info("setting_changed", key=key, was=old, now=new)
    return changed


def changes(before: Any, after: Any, at: str = "") -> dict[str, list[Any]]:
    """What differs, by key: [before, after]; None where it is not there."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return {} if before == after else {at: [before, after]}
    found: dict[str, list[Any]] = {}
    for key in sorted({*before, *after}):
        found |= changes(before.get(key), after.get(key), f"{at}.{key}".lstrip("."))
    return found


def told(changed: dict[str, list[Any]]) -> str:
    """The changes as a line."""
    lines = [f"{key}: {old} -> {new}" for key, (old, new) in changed.items()]
    more = [f"and {len(lines) - MOST_TOLD} more"] if len(lines) > MOST_TOLD else []
    return "; ".join([*lines[:MOST_TOLD], *more])


def _same(last: dict[str, Any] | None, kept: dict[str, Any]) -> bool:
    return last is not None and last["settings"] == kept

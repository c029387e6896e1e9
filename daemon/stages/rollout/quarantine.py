"""The way back out of quarantine."""

from sqlalchemy import Connection

from daemon.errors import AdapterRefusedError
from daemon.store import ledger, rollouts


def take_back(connection: Connection, adapter: str, *, at: float, actor: str, reason: str) -> None:
    """Takes an adapter out of quarantine, with its ledger entry, in the caller's transaction.

    Raises AdapterRefusedError when it is unknown or not quarantined.
    """
    rollouts.serialise(connection)
    known = rollouts.known(connection, adapter)
    if known is None:
        raise AdapterRefusedError(f"{adapter} is unknown: `rlaifd adapters` lists the published ones")
    if not rollouts.readmit(connection, adapter):
        raise AdapterRefusedError(f"{adapter} is not quarantined: there is nothing to take back")
    ledger.append(
        connection,
        at=at,
        actor=actor,
        action="readmit",
        subject=adapter,
        reason=reason,
        detail={"quarantine": known.quarantine},
    )

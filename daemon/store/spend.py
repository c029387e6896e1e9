"""Money of a judge on one UTC day, in the caller's transaction. `daemon.budget` is the way in."""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, Table, case, inspect, select, update
from sqlalchemy.dialects import postgresql, sqlite

from daemon.store.tables import SpendRow

SPEND = cast(Table, inspect(SpendRow).local_table)
ROUNDING_USD = 1e-9
"""Sums of floats are not exact: a limit reached to a billionth of a dollar is not passed."""
_C = SPEND.c


@dataclass(frozen=True, slots=True)
class Spent:
    """US dollars of one judge and day. `reserved` is open: calls under way, or whose process died."""

    reserved: float = 0.0
    settled: float = 0.0
    calls: int = 0

    @property
    def total(self) -> float:
        return self.reserved + self.settled


def reserve(
    connection: Connection, *, day: str, judge: str, usd: float, limit: float | None, calls: int = 1
) -> bool:
    """Adds what so many calls may cost unless that passes the limit. False: it would, and nothing changed."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(
        dialect.insert(SPEND)
        .values(day=day, judge=judge, reserved_usd=0.0, settled_usd=0.0, calls=0)
        .on_conflict_do_nothing(index_elements=["day", "judge"])
    )
    more = update(SPEND).where(_C.day == day, _C.judge == judge)
    if limit is not None:
        more = more.where(_C.reserved_usd + _C.settled_usd + usd <= limit + ROUNDING_USD)
    changed = connection.execute(more.values(reserved_usd=_C.reserved_usd + usd, calls=_C.calls + calls))
    return changed.rowcount == 1


def settle(connection: Connection, *, day: str, judge: str, reserved: float, actual: float) -> None:
    """Replaces a reservation by what the call cost."""
    left = _C.reserved_usd - reserved
    connection.execute(
        update(SPEND)
        .where(_C.day == day, _C.judge == judge)
        .values(
            reserved_usd=case((left > ROUNDING_USD, left), else_=0.0), settled_usd=_C.settled_usd + actual
        )
    )


def spent(connection: Connection, *, day: str, judge: str) -> Spent:
    """What is reserved and settled so far; zero where there is no row."""
    row = connection.execute(select(SPEND).where(_C.day == day, _C.judge == judge)).first()
    return Spent() if row is None else Spent(row.reserved_usd, row.settled_usd, row.calls)

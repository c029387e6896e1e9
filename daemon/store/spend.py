"""Money of a judge on one UTC day, in the caller's transaction. `daemon.budget` is the way in."""

from dataclasses import asdict, dataclass
from typing import cast

from sqlalchemy import Connection, Table, case, delete, func, insert, inspect, select, update

from daemon.store.inserts import insert_of
from daemon.store.tables import ReservationRow, SpendRow

SPEND = cast(Table, inspect(SpendRow).local_table)
RESERVATION = cast(Table, inspect(ReservationRow).local_table)
ROUNDING_USD = 1e-9
"""Sums of floats are not exact: a limit reached to a billionth of a dollar is not passed."""
_C = SPEND.c
_R = RESERVATION.c


@dataclass(frozen=True, slots=True)
class Spent:
    """US dollars of one judge and day. `reserved` is open: calls under way, or of one that just died."""

    reserved: float = 0.0
    settled: float = 0.0
    calls: int = 0

    @property
    def total(self) -> float:
        return self.reserved + self.settled


@dataclass(frozen=True, slots=True)
class Hold:
    """What is set aside for so many calls, until then (seconds since the epoch)."""

    id: str
    day: str
    judge: str
    usd: float
    calls: int
    expires_at: float


def reserve(connection: Connection, hold: Hold, *, limit: float | None) -> Spent | None:
    """Adds what calls may cost unless that passes the limit; returns the day's sums with it. None: it would
    pass, and nothing changed.
    """
    added = _add(connection, hold, limit)
    if added is None:  # it does not fit, or it is the day's first
        blank = {"day": hold.day, "judge": hold.judge, "reserved_usd": 0.0, "settled_usd": 0.0, "calls": 0}
        first = insert_of(connection, SPEND).values(blank)
        connection.execute(first.on_conflict_do_nothing(index_elements=["day", "judge"]))
        added = _add(connection, hold, limit)
    if added is not None:
        connection.execute(insert(RESERVATION).values(asdict(hold)))
    return added


def _add(connection: Connection, hold: Hold, limit: float | None) -> Spent | None:
    more = update(SPEND).where(_C.day == hold.day, _C.judge == hold.judge)
    if limit is not None:
        more = more.where(_C.reserved_usd + _C.settled_usd + hold.usd <= limit + ROUNDING_USD)
    more = more.values(reserved_usd=_C.reserved_usd + hold.usd, calls=_C.calls + hold.calls)
    row = connection.execute(more.returning(_C.reserved_usd, _C.settled_usd, _C.calls)).first()
    return None if row is None else Spent(*row)


def settle(connection: Connection, *, reservation: str, day: str, judge: str, actual: float) -> Spent:
    """Replaces a reservation by what its calls cost; returns the day's sums with it. One that was given up
    meanwhile is gone: what its calls cost is booked all the same.
    """
    freed = connection.scalar(delete(RESERVATION).where(_R.id == reservation).returning(_R.usd))
    return _book(connection, day=day, judge=judge, reserved=freed or 0.0, actual=actual)


def give_up(connection: Connection, *, judge: str, now: float) -> None:
    """Books the reservations of which nobody will say what they came to: their process was killed. Each call
    counts with the mean of those of its day that were settled, and with its estimate where none was.
    """
    if not expired(connection, judge=judge, now=now):
        return
    held = select(_R.day, func.sum(_R.calls)).where(_R.judge == judge).group_by(_R.day)
    means = {day: _mean(connection, day, judge, int(calls)) for day, calls in connection.execute(held)}
    dead = delete(RESERVATION).where(_R.judge == judge, _R.expires_at < now)
    for each in connection.execute(dead.returning(_R.day, _R.usd, _R.calls)).all():
        mean = means[each.day]
        actual = each.usd if mean is None else min(each.usd, mean * each.calls)
        _book(connection, day=each.day, judge=judge, reserved=each.usd, actual=actual)


def _mean(connection: Connection, day: str, judge: str, open_calls: int) -> float | None:
    """What a settled call of the day cost in the mean; None where none is settled."""
    known = spent(connection, day=day, judge=judge)
    settled = known.calls - open_calls
    return known.settled / settled if settled > 0 else None


def expired(connection: Connection, *, judge: str, now: float) -> bool:
    """Whether there is a reservation to give up."""
    query = select(_R.id).where(_R.judge == judge, _R.expires_at < now).limit(1)
    return connection.scalar(query) is not None


def _book(connection: Connection, *, day: str, judge: str, reserved: float, actual: float) -> Spent:
    left = _C.reserved_usd - reserved
    booked = (
        update(SPEND)
        .where(_C.day == day, _C.judge == judge)
        .values(
            reserved_usd=case((left > ROUNDING_USD, left), else_=0.0), settled_usd=_C.settled_usd + actual
        )
    )
    row = connection.execute(booked.returning(_C.reserved_usd, _C.settled_usd, _C.calls)).first()
    return Spent() if row is None else Spent(*row)


def spent(connection: Connection, *, day: str, judge: str) -> Spent:
    """What is reserved and settled so far; zero where there is no row."""
    row = connection.execute(select(SPEND).where(_C.day == day, _C.judge == judge)).first()
    return Spent() if row is None else Spent(row.reserved_usd, row.settled_usd, row.calls)

"""A store that says how much its database read: the measure of cost that no busy machine changes."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, text

from daemon.store.store import Store

T = TypeVar("T")
PLAINLY = ("enable_seqscan", "enable_indexonlyscan")
"""What PostgreSQL may not do while it is measured: it reads a small table through though an index would do,
and what it reads in an index alone it does not count.
"""
READ = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_xact_user_tables"


class MeasuredStore(Store):
    """Adds up in `cost` what its transactions read: rows on PostgreSQL, steps of its machine on SQLite."""

    cost = 0

    def read(self, work: Callable[[Connection], T], *, urgent: bool = False) -> T:
        """As `Store.read`."""
        return super().read(self._measured(work), urgent=urgent)

    def write(self, work: Callable[[Connection], T], *, urgent: bool = False) -> T:
        """As `Store.write`."""
        return super().write(self._measured(work), urgent=urgent)

    def measure(self, work: Callable[[], object]) -> int:
        """What a piece of work reads."""
        before = self.cost
        work()
        return self.cost - before

    def _measured(self, work: Callable[[Connection], T]) -> Callable[[Connection], T]:
        return lambda connection: (self._steps if self.is_sqlite else self._rows)(connection, work)

    def _steps(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        driver: Any = connection.connection.driver_connection

        def tick() -> int:
            self.cost += 1
            return 0

        driver.set_progress_handler(tick, 1)
        try:
            return work(connection)
        finally:
            driver.set_progress_handler(None, 0)

    def _rows(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        for setting in PLAINLY:
            connection.execute(text(f"SET LOCAL {setting} = off"))
        before = int(
            connection.scalar(text(READ)) or 0
        )  # of transactions that the server has not summed up yet
        result = work(connection)
        self.cost += int(connection.scalar(text(READ)) or 0) - before
        return result

"""One migrated PostgreSQL database for many tests: to empty it takes a tenth of the time of a new one."""

from dataclasses import dataclass

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from tests.servers.postgres import Postgres

SCHEMA = """
SELECT coalesce(sum(hashtext(what)::bigint), 0) FROM (
  SELECT c.relname || a.attname || a.atttypid || a.attnotnull FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid
  WHERE c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped
  UNION ALL SELECT tgname || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT proname || prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT array_to_string(setconfig, ',') FROM pg_db_role_setting
) AS parts (what)
"""
"""Another number when tables, columns, indexes, triggers, functions or settings are others."""
OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
USED = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL"

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass
class Emptied:
    """A database that is as new whenever it is asked for."""

    postgres: Postgres
    template: str
    url: str = ""
    _schema: object = None
    _tables: tuple[str, ...] = ()
    _filled: tuple[str, ...] = ()

    def database(self) -> str:
        """Its URL. Where a test changed more than rows, it is another database."""
        if self.url and self._empty():
            return self.url
        self.close()
        self.url = self.postgres.create(self.template)
        with self._connected() as connection:
            self._schema = _column(connection, SCHEMA)[0]
            self._tables = tuple(str(name) for name in _column(connection, TABLES))
            self._filled = self._with_rows(connection)
            connection.execute("CREATE SCHEMA first_state")  # the rows that migrations leave
            for name in self._filled:
                self._run(connection, "CREATE TABLE first_state.{0} AS SELECT * FROM public.{0}", name)
        return self.url

    def close(self) -> None:
        """Drops the database."""
        if self.url:
            self.postgres.drop(self.url)

    def _connected(self) -> Connection:
        plain = make_url(self.url).set(drivername="postgresql")
        return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True)

    def _empty(self) -> bool:
        """Brings rows and counters to their first state; False where that is not all, or not allowed."""
        with self._connected() as connection:
            connection.execute(OTHERS)
            if _column(connection, SCHEMA)[0] != self._schema:
                return False
            try:
                connection.execute(
                    "SET session_replication_role = replica"
                )  # the ledger refuses, tallies count
            except psycopg.errors.InsufficientPrivilege:
                return False
            full = set(self._with_rows(connection)) | set(self._filled)
            if full:
                self._run(connection, "TRUNCATE {} RESTART IDENTITY CASCADE", *sorted(full))
            for name in _column(connection, USED):
                self._run(connection, "ALTER SEQUENCE {} RESTART", str(name))
            for name in self._filled:
                self._run(connection, "INSERT INTO public.{0} SELECT * FROM first_state.{0}", name)
        return True

    def _with_rows(self, connection: Connection) -> tuple[str, ...]:
        one = sql.SQL("SELECT {} WHERE EXISTS (SELECT 1 FROM {})")
        parts = [one.format(sql.Literal(name), sql.Identifier(name)) for name in self._tables]
        return tuple(str(name) for (name,) in connection.execute(sql.SQL(" UNION ALL ").join(parts)))

    def _run(self, connection: Connection, statement: str, *names: str) -> None:
        """With the names in the place of `{}`, or of each `{0}`."""
        inserted = sql.SQL(", ").join(map(sql.Identifier, names))
        connection.execute(sql.SQL(statement).format(inserted))


def _column(connection: Connection, statement: str) -> list[object]:
    return [row[0] for row in connection.execute(statement)]

"""A look at a store leaves nothing behind: no file, no schema, no other journal mode."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from daemon.store import schema
from daemon.store.existing import existing
from daemon.store.store import Store, StoreError
from tests.servers.postgres import Postgres


def url_of(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("name", ["absent.db", "folder/absent.db"])
def test_where_there_is_no_file_none_is_made(tmp_path: Path, name: str) -> None:
    """Nor its folder."""
    with existing(url_of(tmp_path / name)) as store:
        assert store is None
    assert files(tmp_path) == {}


def test_an_empty_file_stays_empty(tmp_path: Path) -> None:
    """A daemon that was killed while it began leaves one."""
    path = tmp_path / "rlaifd.db"
    path.touch()
    with existing(url_of(path)) as store:
        assert store is None
    assert files(tmp_path) == {"rlaifd.db": b""}


@pytest.mark.parametrize("name", ["rlaifd.db", "a b#100%.db"])
def test_a_store_is_read_and_left_as_it_is(sqlite_template: Path, tmp_path: Path, name: str) -> None:
    """Its bytes, and the folder."""
    (tmp_path / name).write_bytes(sqlite_template.read_bytes())
    before = files(tmp_path)
    with existing(url_of(tmp_path / name)) as store:
        assert store is not None
        assert store.read(schema.current) == schema.revisions()[-1]
    assert files(tmp_path) == before


def test_a_file_by_its_uri_is_found(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SQLite is given it. No folder is made by the name of the URI."""
    monkeypatch.chdir(tmp_path)
    with existing(f"sqlite:///file:{sqlite_template}?uri=true") as store:
        assert store is not None
    assert files(tmp_path) == {}


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """Opening it as a store would change how it journals."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (id)")
        connection.commit()
    before = files(tmp_path)
    with pytest.raises(StoreError, match="is not a database that rlaifd made"), existing(url_of(path)):
        pass
    assert files(tmp_path) == before


def test_an_older_schema_is_told_and_not_migrated(sqlite_store: Store, tmp_path: Path) -> None:
    """The way out is named."""
    sqlite_store.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '0001'")))
    url = sqlite_store.url.render_as_string(hide_password=False)
    with pytest.raises(StoreError, match=r"schema is at 0001.*`rlaifd db upgrade`"), existing(url):
        pass
    assert sqlite_store.read(schema.current) == "0001"


@pytest.mark.postgres
def test_a_database_of_a_server_gets_no_schema(postgres: Postgres) -> None:
    """It is there, and there is nothing in it."""
    url = postgres.create()
    with existing(url) as store:
        assert store is None
    store = Store(url)
    assert store.read(schema.current) is None
    store.close()
    postgres.drop(url)


def test_a_server_that_is_away_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sleep between attempts: there is no second one."""
    monkeypatch.setattr("time.sleep", lambda _s: pytest.fail("it is asked again"))
    with pytest.raises(StoreError, match="refused"), existing("postgresql://ann@127.0.0.1:1/rlaifd"):
        pass

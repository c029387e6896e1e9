"""The fixture `store`: a migrated store, once on SQLite and once on PostgreSQL, empty for every test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from daemon.store.schema import upgrade
from daemon.store.store import Store
from tests.servers.emptied import Emptied
from tests.servers.postgres import Postgres

BACKENDS = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy: cheaper than migrating for each test."""
    file = tmp_path_factory.mktemp("template") / "rlaifd.db"
    store = Store(f"sqlite:///{file}")
    upgrade(store)
    store.close()
    return file


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> Iterator[str]:
    """The name of a migrated database to copy."""
    url = postgres.create()
    store = Store(url)
    upgrade(store)
    store.close()
    yield str(make_url(url).database)
    postgres.drop(url)


@pytest.fixture
def sqlite_store(sqlite_template: Path, tmp_path: Path) -> Iterator[Store]:
    """A migrated SQLite store."""
    file = tmp_path / "store" / "rlaifd.db"
    file.parent.mkdir()
    shutil.copyfile(sqlite_template, file)
    store = Store(f"sqlite:///{file}")
    yield store
    store.close()


@pytest.fixture(scope="session")
def postgres_database(postgres: Postgres, postgres_template: str) -> Iterator[Emptied]:
    """The database that all tests of a session share."""
    emptied = Emptied(postgres, postgres_template)
    yield emptied
    emptied.close()


@pytest.fixture
def postgres_store(postgres_database: Emptied) -> Iterator[Store]:
    """A migrated PostgreSQL store."""
    store = Store(postgres_database.database())
    yield store
    store.close()


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest) -> Store:
    """A migrated store of either kind."""
    made: Store = request.getfixturevalue(f"{request.param}_store")
    return made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A database without any schema."""
    if request.param == "sqlite":
        store = Store(f"sqlite:///{tmp_path / 'new' / 'rlaifd.db'}")
        yield store
        store.close()
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create()
    store = Store(url)
    yield store
    store.close()
    server.drop(url)

"""A real PostgreSQL: the one at RLAIFD_TEST_POSTGRES, or a private cluster for one test session."""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, make_url

from tests.requirements import missing

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
}
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@dataclass
class Postgres:
    """A server. `url` names its maintenance database; `create` makes a new one."""

    url: URL
    cluster: "Cluster | None" = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def create(self, template: str | None = None) -> str:
        """A new database, copied from `template` where given; returns its URL."""
        name = f"rlaifd_test_{os.getpid()}_{next(self._numbers)}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}"')
        return self.url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        self._run(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        plain = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg.connect(plain, autocommit=True)) as connection:
            connection.execute(statement.encode())


@dataclass
class Cluster:
    """A private cluster of Debian's or the path's binaries, on a free loopback port."""

    binaries: Path
    folder: Path
    user: str | None
    port: int

    def initialise(self, settings: dict[str, str]) -> None:
        self._command("initdb", "-D", str(self.data), "-U", "rlaifd", "-A", "trust", "-E", "UTF8", "-N",
                      "--locale=C")  # fmt: skip
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        lines += [f"port = {self.port}", f"unix_socket_directories = '{self.folder}'"]
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write("\n".join(lines) + "\n")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> URL:
        return URL.create(
            "postgresql+psycopg", "rlaifd", host="127.0.0.1", port=self.port, database="postgres"
        )

    def start(self) -> None:
        self._pg_ctl("start", "-l", str(self.folder / "log"))

    def restart(self, mode: str = "immediate") -> None:
        self._pg_ctl("restart", "-m", mode, "-l", str(self.folder / "log"))

    def stop(self) -> None:
        self._pg_ctl("stop", "-m", "immediate")

    def _pg_ctl(self, action: str, *rest: str) -> None:
        self._command("pg_ctl", "-D", str(self.data), "-w", "-t", "60", *rest, action)

    def _command(self, program: str, *arguments: str) -> None:
        errors = self.folder / "errors"
        with errors.open("w") as log:
            done = subprocess.run(
                [str(self.binaries / program), *arguments],
                user=self.user,
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the server inherits it: a pipe would never end
                stderr=log,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{program}: {errors.read_text().strip()[-400:]}")


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl: on the path, else the newest of Debian's."""
    found = [Path(path).resolve().parent for name in ("initdb", "pg_ctl") if (path := shutil.which(name))]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin_: -float(bin_.parent.name))
    complete = (folder for folder in [*found, *debian] if (folder / "initdb").exists())
    return next((folder for folder in complete if (folder / "pg_ctl").exists()), None)


def ordinary_user() -> str | None:
    """Whom to run the server as: initdb refuses root. None is ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return missing("postgres", "running as root and no ordinary user to start the server as")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def private(settings: dict[str, str]) -> Iterator[Cluster]:
    """A started cluster that is stopped and removed at the end."""
    folder_of_binaries = binaries()
    if folder_of_binaries is None:
        missing("postgres", "no initdb and pg_ctl found: install PostgreSQL or set RLAIFD_TEST_POSTGRES")
    user = ordinary_user()
    # Not pytest's tmp_path: its folders are closed to other users.
    with tempfile.TemporaryDirectory(prefix="rlaifd-pg-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if user is not None:
            shutil.chown(folder, user)
        cluster = Cluster(folder_of_binaries, folder, user, free_port())
        cluster.initialise(settings)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's server: fast, and not safe against a crash of the machine."""
    if given := os.environ.get("RLAIFD_TEST_POSTGRES"):
        yield Postgres(make_url(given).set(drivername="postgresql+psycopg"))
        return
    for cluster in private(SETTINGS):
        yield Postgres(cluster.url, cluster)


@pytest.fixture
def durable_postgres() -> Iterator[Postgres]:
    """A server of the test's own, with fsync, that the test may kill."""
    for cluster in private(SETTINGS | DURABLE):
        yield Postgres(cluster.url, cluster)

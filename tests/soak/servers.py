"""Real servers of a part's own, which it may kill: a Kafka broker and a PostgreSQL cluster."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import kafka, postgres
from tests.servers.kafka import Broker
from tests.servers.postgres import DURABLE, SETTINGS, Cluster, Postgres
from tests.servers.realmodel import UnavailableError


@dataclass(frozen=True)
class Servers:
    """Both, running, with a folder to work in. A broker that others use too is not to be killed."""

    broker: Broker
    postgres: Postgres
    folder: Path

    @property
    def cluster(self) -> Cluster:
        """The database's processes."""
        assert self.postgres.cluster is not None
        return self.postgres.cluster


@contextmanager
def started() -> Iterator[Servers]:
    """Starts both, and removes them at the end. Raises UnavailableError where one cannot be had."""
    own_postgres = contextmanager(postgres.private)
    own_kafka = contextmanager(kafka.private)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="rlaifd-soak-") as name,
            own_postgres(SETTINGS | DURABLE) as cluster,
            own_kafka(Path(name) / "kafka") as broker,
        ):
            yield Servers(broker, Postgres(cluster.url, cluster), Path(name))
    except pytest.skip.Exception as missing:
        raise UnavailableError(str(missing)) from None

"""The soak's chaos, short: one daemon, and the faults that need no broker of its own."""

from pathlib import Path

import pytest

from tests.servers.kafka import Broker
from tests.servers.postgres import Postgres
from tests.soak.bounds import within
from tests.soak.chaos import limits, wreck
from tests.soak.scene import Fault, Plan
from tests.soak.servers import Servers


@pytest.mark.alone
@pytest.mark.kafka
@pytest.mark.postgres
def test_faults_lose_and_double_nothing(
    kafka_broker: Broker, durable_postgres: Postgres, tmp_path: Path
) -> None:
    """Killed and paused, its database and its judge away for a while, and ended at last: each record is there
    once, each judgement has ended, what was served is booked, and the daemon did not end by itself.
    """
    plan = Plan((Fault.KILL, Fault.PAUSE, Fault.DATABASE, Fault.JUDGE))
    figures = wreck(Servers(kafka_broker, durable_postgres, tmp_path), plan)
    within(figures, limits(plan))
    assert figures["kill_to_record_s"] > 0

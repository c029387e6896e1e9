"""The whole loop on a real Kafka: logs in, better adapter out."""

import json
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean

import pytest

from daemon.demo.play import AFTER, BEFORE, Play
from daemon.demo.screen import Screen
from tests.servers.kafka import Broker
from tests.system.command import rlaifd


@pytest.mark.alone
@pytest.mark.kafka
@pytest.mark.training
@pytest.mark.timeout(1800)
def test_logs_on_kafka_become_a_promoted_adapter(kafka_broker: Broker, tmp_path: Path) -> None:
    """Consumed from Kafka, judged, trained, passed by the gate, promoted through the file, and served."""
    directory = tmp_path / "demo"
    play = Play(seed=1, kafka=kafka_broker.bootstrap, judge=None, directory=directory, screen=Screen())
    with ExitStack() as stack:
        play.improve(stack)
    promoted, outcome = play.outcome.promoted, play.outcome
    assert fmean(outcome.customers_after) > 1.5 * fmean(outcome.customers_before)
    assert promoted is not None
    assert promoted in (directory / "rollout.yaml").read_text(encoding="utf-8")
    pointer = json.loads((directory / "serving" / "current.json").read_text(encoding="utf-8"))
    assert pointer["adapter"] == promoted
    state = json.loads(rlaifd("status", "--json", "-c", directory / "rlaifd.yaml", cwd=tmp_path).out)
    records = state["records"]["agent"]
    assert BEFORE <= records["records"] <= BEFORE + AFTER
    assert records["stored"] + records["skipped"] == records["records"]
    assert records["stored"] == state["traces"]
    assert records["duplicates"] == records["dead_letters"] == state["dead_letters"] == 0
    assert state["verdicts"]["small"]["verdicts"] >= state["preferences"]
    assert [run["adapter"] for run in state["runs"]] == [promoted]
    assert state["evaluations"][0]["decision"] == "promote"
    assert rlaifd("ledger", "verify", "-c", directory / "rlaifd.yaml", cwd=tmp_path).code == 0

"""Whether a daemon runs is told, and what only it knows is asked of it."""

import os
import subprocess
from pathlib import Path

import pytest

from daemon.clock import FakeClock
from daemon.config.settings import WebConfig
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.service.instance import FILE
from daemon.status import answering
from daemon.status.answering import ask
from daemon.store.store import Store
from tests.daemon.web.site import TOKEN, Site


def test_a_daemon_says_what_only_it_knows(sqlite_store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """Its conditions, its lag and why it does not train, past any proxy."""
    site = Site(Latch(sqlite_store, clock, Metrics()), clock=clock)
    site.state["daemon"] = {"pid": 77, "state_dir": str(tmp_path.resolve()), "lag": {"agent": 3}}
    site.heartbeats.expect("judge:small", bound_s=10)
    site.heartbeats.failed("judge:small", "401: invalid key")
    with site.running():
        found = ask(WebConfig(port=site.port), TOKEN, tmp_path)
    assert found["said"] == "runs with pid 77"
    assert found["lag"] == {"agent": 3}
    assert found["conditions"] == ["judge:small: failed 1 times in a row: 401: invalid key"]


def test_the_token_opens_a_listener_that_asks_for_it(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener on every address is asked over loopback."""
    site = Site(Latch(sqlite_store, clock, Metrics()), clock=clock)
    site.state["daemon"] = {"pid": 77, "state_dir": str(tmp_path.resolve())}
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with site.running("0.0.0.0"):
        assert ask(WebConfig(host="0.0.0.0", port=site.port, token=TOKEN), TOKEN, tmp_path)["pid"] == 77


def test_of_another_state_directory_nothing_is_believed(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    """Two daemons on one machine, or something else on the port."""
    site = Site(Latch(sqlite_store, clock, Metrics()), clock=clock)
    for state in ({"daemon": {"pid": 77, "state_dir": "/elsewhere"}}, {"daemon": 7}, {}):
        site.state = state
        with site.running():
            found = ask(WebConfig(port=site.port), TOKEN, tmp_path)
        assert not found["runs"]


def test_that_none_runs_is_told_with_the_way_to_start_one(tmp_path: Path) -> None:
    """Also where one ran and was killed: its number is nobody's, or a later stranger's."""
    for left in (None, "", "not a number", "999999999", str(os.getpid())):
        if left is not None:
            (tmp_path / FILE).write_text(left, encoding="ascii")
            os.utime(tmp_path / FILE, (1.0, 1.0))
        found = ask(WebConfig(port=1), None, tmp_path)
        assert not found["runs"]
        assert found["said"] == (
            f"no daemon runs on {tmp_path}: nothing is read, judged or trained until `rlaifd run`"
        )


def test_one_that_does_not_answer_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the state directory, and its listener is away."""
    monkeypatch.setattr(answering, "PATIENCE_S", 0.5)
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            (tmp_path / FILE).write_text(f"{other.pid}\n", encoding="ascii")
            found = ask(WebConfig(port=1), None, tmp_path)
        finally:
            other.kill()
    assert found["runs"]
    assert "does not answer at 127.0.0.1:1" in found["said"]

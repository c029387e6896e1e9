"""Daemons as processes of their own on one PostgreSQL: one leads, and what it decided stays decided."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from daemon.store import leases, rollouts
from daemon.store.store import Store
from daemon.store.tables import TraceRow
from tests.daemon.configuration import TEXT
from tests.daemon.stages.seeding import count
from tests.daemon.waiting import until
from tests.daemon.wiring.test_service import event
from tests.system.command import RLAIFD, rlaifd
from tests.system.test_promotion import Site

WATCHED_S = 4.0
"""Eight looks of each daemon, at half a second each."""


def site(
    store: Store, directory: Path, *, lead: bool = True, shares: Path | None = None, text: str = TEXT
) -> Site:
    """A daemon's home with an `init` file of its own. `shares`: whose adapters it has on a shared volume."""
    url = store.url.render_as_string(hide_password=False)
    rollout = f"directory: serving, poll_s: 0.5, lead: {str(lead).lower()}"
    text = text.replace("directory: serving", rollout)
    text = text.replace("state_dir: state\n", f"state_dir: state\nstore: {{url: '{url}'}}\n")
    if shares is not None:
        shares.mkdir(parents=True, exist_ok=True)
        (directory / "state").mkdir(parents=True)
        (directory / "state" / "adapters").symlink_to(shares)
    return Site(directory, text)


@contextmanager
def running(home: Site) -> Iterator[subprocess.Popen[bytes]]:
    daemon = subprocess.Popen(
        [RLAIFD, "run", "-c", home.config], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield daemon
    finally:
        if daemon.poll() is None:
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(120) == 0


def leader(store: Store) -> str:
    """Who holds the lease; '' where nobody ever did."""
    return store.read(lambda c: c.scalar(leases.LEASE.select().with_only_columns(leases.LEASE.c.owner))) or ""


@pytest.mark.postgres
def test_two_daemons_decide_once_and_a_third_only_works(postgres_store: Store, tmp_path: Path) -> None:
    """One change of epoch, no flip, on a shared volume; after the leader's end the other goes on with it. One
    that may not lead ingests without adapters; one that may and has none does not start.
    """
    store = postgres_store
    first = site(store, tmp_path / "first")
    second = site(store, tmp_path / "second", shares=first.parts.adapters_dir)
    worker = site(store, tmp_path / "worker", lead=False)
    lacking = site(store, tmp_path / "lacking")
    (worker.directory / "logs" / "agent.jsonl").write_text(event(1) + "\n", encoding="utf-8")
    with ExitStack() as stack:
        for each in (first, second, worker, lacking):
            stack.callback(each.parts.close)
        leads = stack.enter_context(running(first))
        until(lambda: leader(store), timeout_s=120)
        by_first = leader(store)
        stack.enter_context(running(second))
        stack.enter_context(running(worker))
        name = first.publish(1, "promote", "good")
        until(lambda: first.served == second.served == name, timeout_s=120)
        until(lambda: count(store, TraceRow) == 1, timeout_s=120)
        time.sleep(WATCHED_S)
        alone = rlaifd("run", cwd=lacking.directory)
        assert (alone.code, "share state_dir/adapters" in alone.err) == (1, True)
        leads.send_signal(signal.SIGTERM)
        assert leads.wait(120) == 0
        until(lambda: leader(store) != by_first, timeout_s=120)
        time.sleep(WATCHED_S / 2)
        assert second.served == name
    assert [(change.epoch, change.stable) for change in store.read(rollouts.changes)] == [(1, name)]
    assert worker.served is None

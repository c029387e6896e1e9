"""The alert path with the shipped rules and routes: metrics, Prometheus, Alertmanager, webhook, halt."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.clock import SystemClock
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.store.halts import ActiveHalt
from daemon.store.store import Store, StoreError
from policies.records import Scope
from tests.daemon.stages.seeding import add_labelled
from tests.daemon.waiting import until
from tests.daemon.web.site import TOKEN, Site
from tests.judges import SMALL
from tests.servers import alertmanager, prometheus

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
ROUTES = DEPLOY / "alertmanager" / "alertmanager.yml"


class Unsteady(Latch):
    """A latch whose store can be taken away."""

    down = False

    def take(self, *arguments: Any, **named: Any) -> list[bool]:
        if self.down:
            raise StoreError("store: gone")
        return super().take(*arguments, **named)


@dataclass
class AlertPath:
    """The running path, seen from both ends."""

    site: Site
    latch: Unsteady
    prometheus: prometheus.Prometheus

    def align(self, ratio: float, *, upper: float = 0.95) -> None:
        metrics = self.site.metrics
        metrics.alignment.labels(*SMALL.labels).set(ratio)
        metrics.alignment_upper.labels(*SMALL.labels).set(upper)

    def halts(self) -> dict[Scope, ActiveHalt]:
        return {halt.scope: halt for halt in self.latch.active()}

    def wait(self, true: Callable[[], object]) -> None:
        until(true, timeout_s=120)


def routes(port: int, token: Path) -> dict[str, Any]:
    """The shipped routes, pointed at this port, with a heartbeat every second or two."""
    settings: dict[str, Any] = yaml.safe_load(ROUTES.read_text())
    webhook = settings["receivers"][1]["webhook_configs"][0]
    webhook["url"] = f"http://127.0.0.1:{port}/alerts"
    webhook["http_config"]["authorization"]["credentials_file"] = str(token)
    watchdog = settings["route"]["routes"][0]
    watchdog.update(group_interval="1s", repeat_interval="1s")
    return settings


@pytest.fixture
def path(sqlite_store: Store, tmp_path: Path) -> Iterator[AlertPath]:
    metrics = Metrics()
    latch = Unsteady(sqlite_store, SystemClock(), metrics)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    metrics.refresh_timestamp.set_to_current_time()
    metrics.alignment_limit.set(0.8)
    metrics.alignment_labels.labels(*SMALL.labels).set(200)
    metrics.version_since.labels(*SMALL.labels).set(1000)
    metrics.rollout_changed.set(2000)
    with (
        Site(latch, metrics=metrics).running() as site,
        alertmanager.routing(routes(site.port, token), folder=tmp_path / "alertmanager") as address,
    ):
        target = f"127.0.0.1:{site.port}"
        folder = tmp_path / "prometheus"
        with prometheus.scraping(target, folder=folder, rules=RULES, alertmanager=address) as server:
            made = AlertPath(site, latch, server)
            made.align(0.9)
            made.wait(lambda: site.count("heartbeat") >= 1)
            yield made


def test_a_breach_halts_and_its_end_does_not_resume(path: AlertPath, sqlite_store: Store) -> None:
    """Alignment falls, training halts by alert; it recovers, the halt is marked cleared and stays; after a
    person's resume the next fall halts anew, if there are newer labels.
    """
    assert path.halts() == {}
    path.align(0.6)
    path.wait(lambda: Scope.TRAINING in path.halts())
    halt = path.halts()[Scope.TRAINING]
    assert (halt.source, halt.actor) == ("alert", "alertmanager")
    assert halt.reason.startswith("RlaifdJudgeAlignmentLow: ")
    assert path.prometheus.query('ALERTS{alertname="RlaifdJudgeAlignmentLow",alertstate="firing"}')

    path.align(0.9)
    path.wait(lambda: path.halts()[Scope.TRAINING].cleared_at is not None)
    assert list(path.halts()) == [Scope.TRAINING]

    path.latch.resume(Scope.TRAINING, actor="ann", reason="labels were mixed up")
    add_labelled(sqlite_store, {"later": False})
    path.align(0.5)
    path.wait(lambda: Scope.TRAINING in path.halts())
    assert path.halts()[Scope.TRAINING].starts_at > halt.starts_at


def test_a_sure_breach_rolls_back(path: AlertPath) -> None:
    """The upper bound is below the limit too: serving is re-pointed once and promotion halted."""
    path.align(0.6, upper=0.7)
    path.wait(lambda: {Scope.PROMOTION, Scope.TRAINING} <= set(path.halts()))
    path.wait(lambda: path.site.rollbacks)
    beats = path.site.count("heartbeat")
    path.wait(lambda: path.site.count("heartbeat") >= beats + 2)
    assert len(path.site.rollbacks) == 1


def test_a_halt_that_could_not_be_stored_comes_again(path: AlertPath) -> None:
    """503 makes Alertmanager retry until the store is back."""
    path.latch.down = True
    path.align(0.6)
    path.wait(lambda: path.site.count("unavailable") >= 2)
    assert path.halts() == {}
    path.latch.down = False
    path.wait(lambda: Scope.TRAINING in path.halts())

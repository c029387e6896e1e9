"""What happens to daemons while records are written: one fault after the other, each waited out."""

import random
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, func, select

from daemon.store.store import Store, StoreError
from daemon.store.traces import POSITION
from tests.servers.judge import JudgeServer
from tests.servers.kafka import PrivateBroker
from tests.soak.bounds import Figures
from tests.soak.servers import Servers
from tests.soak.victim import Victim

STANDSTILL_S: Final = 180.0
"""Without a new record for so long after a fault, a daemon stands still."""


class Fault(StrEnum):
    """What happens to a daemon or to what it stands on."""

    KILL = "kill"
    TERMINATE = "terminate"
    PAUSE = "pause"
    BROKER = "broker"
    DATABASE = "database"
    JUDGE = "judge"


@dataclass(frozen=True, slots=True)
class Plan:
    """Faults in their order. `pause_s` is how long a daemon is paused, `away_s` how long a server is away."""

    faults: tuple[Fault, ...]
    daemons: int = 1
    per_second: float = 20.0
    pause_s: float = 3.0
    away_s: float = 3.0
    session_timeout_s: float = 45.0


class Scene:
    """Daemons at work, and what they stand on. `strike` does one thing to them, and waits for a record."""

    def __init__(
        self, own: Servers, plan: Plan, judge: JudgeServer, store: Store, victims: list[Victim]
    ) -> None:
        self._own, self._plan, self._judge, self._store = own, plan, judge, store
        self._victims = victims
        self._random = random.Random(11)
        self._stood_still = 0
        self._gaps: dict[Fault, list[float]] = {}
        """Seconds from when a fault was over to the first new record."""

    def strike(self, fault: Fault) -> None:
        victim = self._random.choice(self._victims)
        struck = time.time()
        match fault:
            case Fault.KILL:
                victim.kill()
                victim.start()
            case Fault.TERMINATE:
                self.wait(lambda: victim.started)
                victim.end()
                victim.start()
            case Fault.PAUSE:
                victim.pause()
                time.sleep(self._plan.pause_s)
                victim.resume()
            case Fault.BROKER:
                broker = self._own.broker
                assert isinstance(broker, PrivateBroker), "others use this broker too"
                self._away(broker.kill, broker.start)
            case Fault.DATABASE:
                self._away(self._own.cluster.stop, self._own.cluster.start)
            case Fault.JUDGE:
                self._away(self._judge.__exit__, self._judge.__enter__)
        back = struck if fault is Fault.KILL else time.time()
        if self.moved(back):
            self._gaps.setdefault(fault, []).append(time.time() - back)
        time.sleep(self._random.uniform(0.2, 2.0))

    def _away(self, leave: Callable[[], object], come: Callable[[], object]) -> None:
        leave()
        time.sleep(self._plan.away_s)
        come()

    def moved(self, since: float) -> bool:
        """Waits until a record is stored after that moment, and starts again what ended by itself."""
        found = self.wait(lambda: (self._store.read(_newest) or 0.0) > since)
        self._stood_still += not found
        return found

    def wait(self, true: Callable[[], bool]) -> bool:
        """Whether it came true in time. A database that is coming back is waited for too."""
        deadline = time.monotonic() + STANDSTILL_S
        while time.monotonic() < deadline:
            for each in self._victims:
                each.stand()
            with suppress(StoreError):
                if true():
                    return True
            time.sleep(0.1)
        return False

    def figures(self) -> Figures:
        fell = float(sum(each.fell for each in self._victims))
        found = {"stood_still": float(self._stood_still), "fell": fell}
        for fault, gaps in self._gaps.items() if len(self._victims) == 1 else ():
            found[f"{fault}_to_record_s"] = max(gaps)
            found[f"{fault}_to_record_median_s"] = statistics.median(gaps)
        return found


def _newest(connection: Connection) -> float | None:
    """When a record was stored last."""
    found: float | None = connection.scalar(select(func.max(POSITION.c.updated_at)))
    return found

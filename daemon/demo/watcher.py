"""What the demo sees of the daemon: its status page, and the figures in its store."""

import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from daemon.demo.processes import Player, PlayError
from daemon.store import evaluations, rewardmodels, verdicts
from daemon.store.store import Store
from policies.records import Role

POLL_S: Final = 0.7
Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of an adapter at the gate, as it was decided."""

    adapter: str
    decision: Literal["promote", "hold", "reject"]
    reasons: tuple[str, ...]
    stable: str | None
    win_rate: float | None
    win_rate_lower: float | None
    win_rate_upper: float | None
    kl_sequence: float | None
    entropy: float | None
    entropy_stable: float | None


@dataclass(frozen=True, slots=True)
class Ranker:
    """A reward model, and what people's labels made of it."""

    name: str
    decision: Literal["release", "hold", "reject"]
    reasons: tuple[str, ...]
    labels: int


class Daemon:
    """The running daemon, asked over its own HTTP listener."""

    def __init__(self, player: Player, port: int) -> None:
        self._player = player
        self._url = f"http://127.0.0.1:{port}/api/v1/status"
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def status(self) -> Status | None:
        """What `rlaifd status --json` prints; None while the daemon does not answer yet.

        Raises PlayError when it has ended.
        """
        if self._player.left() is not None:
            raise PlayError(f"the daemon ended: {self._player.last_words()}")
        try:
            with self._direct.open(self._url, timeout=10.0) as response:
                found: Status = json.load(response)
                return found
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError):
            return None

    def wait(
        self, what: str, arrived: Callable[[Status], bool], *, timeout_s: float, busy: Callable[[], None]
    ) -> Status:
        """The first status for which `arrived` holds; `busy` is called between two looks.

        Raises PlayError saying what did not happen in time, with the halts that may be why.
        """
        deadline = time.monotonic() + timeout_s
        halts: list[Any] = []
        while time.monotonic() < deadline:
            status = self.status()
            if status is not None:
                if arrived(status):
                    return status
                halts = status["halts"]
            busy()
            time.sleep(POLL_S)
        why = "; ".join(f"{halt['scope']} is halted: {halt['reason']}" for halt in halts)
        raise PlayError(f"{what} did not happen within {timeout_s:.0f} s{f' ({why})' if why else ''}")


def attempts(store: Store) -> list[Attempt]:
    """Every decided attempt at the gate, oldest first."""
    found = store.read(lambda connection: evaluations.recent(connection, limit=50))
    return [_attempt(each) for each in reversed(found) if each.decision is not None]


def rewards(store: Store) -> dict[str, list[float]]:
    """The small judge's rewards of the served answers by adapter ('' for the base model)."""
    return store.read(lambda connection: verdicts.traffic_rewards(connection, Role.SMALL))


def reward_models(store: Store) -> list[Ranker]:
    """Every reward model, newest first."""
    found = store.read(rewardmodels.newest)
    return [Ranker(each.name, each.state, each.reasons, each.labels) for each in found]


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _attempt(found: evaluations.Evaluation) -> Attempt:
    def number(name: str) -> float | None:
        value = found.evidence.get(name)
        return None if value is None else float(value)

    return Attempt(
        adapter=found.adapter,
        decision=found.decision,  # type: ignore[arg-type]
        reasons=found.reasons,
        stable=found.stable,
        win_rate=number("win_rate"),
        win_rate_lower=number("win_rate_lower"),
        win_rate_upper=number("win_rate_upper"),
        kl_sequence=number("kl_sequence_nats"),
        entropy=number("entropy_candidate_nats"),
        entropy_stable=number("entropy_stable_nats"),
    )


def store_of(directory: Path) -> Store:
    """The demo's store."""
    return Store(f"sqlite:///{directory / 'state' / 'rlaifd.db'}")

"""Whether the loops make progress: heartbeats with a bound each, and what is still missing before work began.

Age is measured with the monotonic clock, so that a jump of the wall clock makes nothing look stuck.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from daemon.clock import Clock
from daemon.errors import RlaifdError


@dataclass(frozen=True, slots=True)
class Pulse:
    """One loop as it stands. `failure` is the last error's line, "" once a step went through."""

    name: str
    age_s: float
    bound_s: float
    awaited: bool = False
    failures: int = 0
    failure: str = ""

    @property
    def stale(self) -> bool:
        """The loop has not come round within its bound: it hangs in a step."""
        return self.age_s > self.bound_s


class Heartbeats:
    """Beats of named loops. Safe from any thread; a loop is known once it was expected."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pulses: dict[str, Pulse] = {}
        self._beats: dict[str, float] = {}

    def expect(self, name: str, *, bound_s: float, awaited: bool = False) -> None:
        """From now on `name` must beat at least every `bound_s`. Awaited: not ready before its first step."""
        with self._lock:
            self._beats[name] = self._clock.monotonic()
            self._pulses[name] = Pulse(name, 0.0, bound_s, awaited)

    def beat(self, name: str) -> None:
        """The loop came round. A long step may call this from within. An unexpected name is ignored."""
        with self._lock:
            if name in self._pulses:
                self._beats[name] = self._clock.monotonic()

    def passed(self, name: str) -> None:
        """A step went through: the loop is well, and no longer waited for."""
        with self._lock:
            if name in self._pulses:
                self._pulses[name] = replace(self._pulses[name], awaited=False, failures=0, failure="")

    def began(self, name: str) -> None:
        """The loop has done what it can for now: it is not waited for, well or not."""
        with self._lock:
            if name in self._pulses:
                self._pulses[name] = replace(self._pulses[name], awaited=False)

    def failed(self, name: str, line: str) -> int:
        """A step failed; returns how many have failed in a row."""
        with self._lock:
            if name not in self._pulses:
                return 1
            pulse = self._pulses[name]
            self._pulses[name] = replace(pulse, failures=pulse.failures + 1, failure=line)
            return pulse.failures + 1

    def pulses(self) -> tuple[Pulse, ...]:
        """Every expected loop, in the order they were expected."""
        with self._lock:
            now = self._clock.monotonic()
            return tuple(
                replace(pulse, age_s=max(0.0, now - self._beats[name]))
                for name, pulse in self._pulses.items()
            )

    def stale(self) -> tuple[Pulse, ...]:
        """The loops past their bound."""
        return tuple(pulse for pulse in self.pulses() if pulse.stale)

    def conditions(self) -> tuple[str, ...]:
        """One line for each loop that is stuck or failing."""
        lines = []
        for pulse in self.pulses():
            if pulse.stale:
                lines.append(f"{pulse.name}: stuck for {pulse.age_s:.0f} s (bound {pulse.bound_s:.0f} s)")
            if pulse.failures:
                lines.append(f"{pulse.name}: failed {pulse.failures} times in a row: {pulse.failure}")
        return tuple(lines)


class Readiness:
    """What must be so before the daemon counts as ready: the awaited loops' first step, and named checks.

    A check raises RlaifdError with its line (the store's `ping` does). Judges are no part of it: their outage
    is no reason to take the daemon out of service.
    """

    def __init__(self, heartbeats: Heartbeats, **checks: Callable[[], None]) -> None:
        self._heartbeats = heartbeats
        self._checks = checks

    def missing(self) -> tuple[str, ...]:
        """One line for each thing that is not so; () means ready."""
        lines = [f"{pulse.name}: first step not done" for pulse in self._heartbeats.pulses() if pulse.awaited]
        for name, check in self._checks.items():
            try:
                check()
            except RlaifdError as error:
                lines.append(f"{name}: {error}")
        return tuple(lines)

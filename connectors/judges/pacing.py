"""How fast a judge may be asked: concurrency that yields to overload, a rate, and a brake while it is down.

One `Pacing` per judge. It never retries; it says when a call may start, whether to try again at all, and
learns from what became of each call.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

WINDOW_S = 30.0
"""How long an attempt counts for the brake: an outage is forgotten so soon after it ended."""
ACCEPT_FACTOR = 2.0
GRACE = 10
"""Failures that are no outage yet: a handful says nothing."""
MAX_REJECT = 0.9
"""Most of the offered calls that are held back, so that a recovery is seen."""
RETRY_SHARE = 0.1
RETRY_BURST = 10.0
"""Retries beyond a small burst are at most a tenth of first attempts: an outage must not multiply load."""


class Pacing:
    """AIMD on the number of calls in flight, an optional rate, Retry-After, and adaptive throttling.

    * `slot()` waits until a call may start, and holds a place until it ends.
    * After each call: `succeeded()`, `overloaded(retry_after_s)` for 429 and 529, or `failed()`.
    * `held_back()` answers whether to drop this call unmade: with probability
      (attempts - 2 * accepted - 10) / (attempts + 1) over the last 30 s, at most 0.9
      (Beyer et al. 2016, Site Reliability Engineering, chapter 21).
    * `may_retry()` takes from the retry budget.

    `concurrency` is the most and the first number in flight; halved at most once per round of calls on
    overload, it grows by one per round of successes.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        requests_per_minute: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Random | None = None,
    ) -> None:
        self.limit = float(concurrency)
        self.in_flight = 0
        self._most = float(concurrency)
        self._gap_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._monotonic = monotonic
        self._sleep = sleep
        self._random = random or Random()
        self._next_start = -math.inf
        self._not_before = -math.inf
        self._lowered_at = -math.inf
        self._line: deque[asyncio.Future[None]] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._attempts: deque[tuple[float, bool]] = deque()
        self._accepted = 0
        self._retries = RETRY_BURST

    @asynccontextmanager
    async def slot(self, *, ahead: bool = False) -> AsyncIterator[float]:
        """A place for one call, in the order of asking; yields when it started, for `overloaded`.

        `ahead`: it ends what was begun, and goes before all that is not.
        """
        if ahead and self._is_free():
            self._begin()
        else:
            async with self._first_in_line(ahead):
                await self._enter()
        try:
            yield self._monotonic()
        finally:
            self.in_flight -= 1
            self._wake()

    def succeeded(self) -> None:
        """The call was answered, whatever the answer says."""
        self._count(accepted=True)
        self.limit = min(self._most, self.limit + 1.0 / self.limit)
        self._wake()

    def failed(self) -> None:
        """The call failed for the other side's reasons, other than being asked to slow down."""
        self._count(accepted=False)

    def overloaded(self, started: float, retry_after_s: float | None) -> None:
        """The other side asked for fewer calls; all calls wait as long as it said."""
        self._count(accepted=False)
        now = self._monotonic()
        if retry_after_s is not None:
            self._not_before = max(self._not_before, now + retry_after_s)
        if started >= self._lowered_at:
            self.limit = max(1.0, self.limit / 2)
            self._lowered_at = now

    def wait_s(self) -> float:
        """Seconds until the other side's wish and the rate allow a call."""
        return max(0.0, max(self._not_before, self._next_start) - self._monotonic())

    def held_back(self) -> bool:
        """Whether to drop a call unmade because the other side answers too few."""
        self._forget()
        attempts = len(self._attempts)
        share = max(0.0, (attempts - ACCEPT_FACTOR * self._accepted - GRACE) / (attempts + 1))
        return self._random.random() < min(MAX_REJECT, share)

    def may_retry(self) -> bool:
        """Takes one retry from the budget; False when it is used up."""
        if self._retries < 1:
            return False
        self._retries -= 1
        return True

    def first_attempt(self) -> None:
        """Adds a first attempt's share to the retry budget."""
        self._retries = min(RETRY_BURST, self._retries + RETRY_SHARE)

    @asynccontextmanager
    async def _first_in_line(self, ahead: bool) -> AsyncIterator[None]:
        """Whoever came later waits behind: calls that keep coming let nobody's claim run out."""
        own: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.insert(1 if ahead else len(self._line), own)
        try:
            if self._line[0] is not own:
                await own
            yield
        finally:
            self._line.remove(own)
            if self._line and not self._line[0].done():
                self._line[0].set_result(None)

    async def _enter(self) -> None:
        while True:
            wait = self.wait_s()
            if wait > 0:
                await self._sleep(wait)
            elif self._is_free():
                break
            else:
                await self._wait()
        self._begin()

    def _is_free(self) -> bool:
        return self.wait_s() <= 0 and self.in_flight < int(self.limit)

    def _begin(self) -> None:
        self.in_flight += 1
        self._next_start = max(self._monotonic(), self._next_start) + self._gap_s

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()  # the place that was offered goes to the next
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        free = int(self.limit) - self.in_flight
        while free > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    def _count(self, *, accepted: bool) -> None:
        self._attempts.append((self._monotonic(), accepted))
        self._accepted += accepted
        self._forget()

    def _forget(self) -> None:
        oldest = self._monotonic() - WINDOW_S
        while self._attempts and self._attempts[0][0] < oldest:
            self._accepted -= self._attempts.popleft()[1]

"""Pacing under a clock that the test moves: it yields, it waits, it brakes, it recovers."""

import asyncio
from random import Random

from connectors.judges.pacing import RETRY_BURST, WINDOW_S, Pacing


class Time:
    """A clock whose sleeps pass at once."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def pacing(time: Time, concurrency: int = 8, per_minute: float | None = None) -> Pacing:
    return Pacing(
        concurrency=concurrency,
        requests_per_minute=per_minute,
        monotonic=time.monotonic,
        sleep=time.sleep,
        random=Random(7),
    )


def test_no_more_calls_than_allowed_are_in_flight() -> None:
    """Fifty calls, eight places, all served."""

    async def run() -> tuple[int, int]:
        paced = pacing(Time())
        most = done = 0

        async def call() -> None:
            nonlocal most, done
            async with paced.slot():
                most = max(most, paced.in_flight)
                await asyncio.sleep(0)
            paced.succeeded()
            done += 1

        await asyncio.gather(*(call() for _ in range(50)))
        return most, done

    assert asyncio.run(run()) == (8, 50)


def test_overload_halves_once_a_round_and_success_wins_back() -> None:
    """Eight refusals of one round are one halving; the way back is additive and ends at the start."""
    time = Time()
    paced = pacing(time)
    for _ in range(8):
        paced.overloaded(time.now - 1 if paced.limit < 8 else time.now, None)
    assert paced.limit == 4
    time.now += 1
    paced.overloaded(time.now, None)
    assert paced.limit == 2
    for _ in range(3):
        paced.succeeded()
    assert 3 < paced.limit < 4
    for _ in range(200):
        paced.succeeded()
    assert paced.limit == 8


def test_the_limit_never_falls_below_one() -> None:
    """Else nothing would ever ask again."""
    time = Time()
    paced = pacing(time)
    for _ in range(20):
        time.now += 1
        paced.overloaded(time.now, None)
    assert paced.limit == 1


def test_retry_after_holds_all_calls() -> None:
    """The next call starts when the server said, not before."""

    async def run() -> float:
        time = Time()
        paced = pacing(time)
        paced.overloaded(time.now, 30.0)
        async with paced.slot() as started:
            return started

    assert asyncio.run(run()) == 1030.0


def test_the_rate_spaces_the_starts() -> None:
    """Sixty a minute is one a second."""

    async def run() -> list[float]:
        time = Time()
        paced = pacing(time, per_minute=60)
        starts = []
        for _ in range(4):
            async with paced.slot() as started:
                starts.append(started)
        return starts

    assert asyncio.run(run()) == [1000.0, 1001.0, 1002.0, 1003.0]


def test_a_cancelled_waiter_passes_its_place_on() -> None:
    """No place is lost when a waiting call is given up."""

    async def run() -> bool:
        paced = pacing(Time(), concurrency=1)
        release = asyncio.Event()

        async def hold() -> None:
            async with paced.slot():
                await release.wait()

        async def take() -> bool:
            async with paced.slot():
                return True

        holder = asyncio.create_task(hold())
        await asyncio.sleep(0)
        given_up, waiting = asyncio.create_task(take()), asyncio.create_task(take())
        await asyncio.sleep(0)
        release.set()
        await holder
        given_up.cancel()
        return await asyncio.wait_for(waiting, 1)

    assert asyncio.run(run())


def outage(paced: Pacing, time: Time, seconds: int, offered: int) -> int:
    """Offers calls each second to a side that fails all; returns how many were made, retries included."""
    made = 0
    for _ in range(seconds):
        time.now += 1
        for _ in range(offered):
            paced.first_attempt()
            if paced.held_back():
                continue
            made += 1
            paced.failed()
            while paced.may_retry() and not paced.held_back():
                made += 1
                paced.failed()
    return made


def test_an_outage_does_not_multiply_load() -> None:
    """Five minutes of failure: attempts stay below 1.1 times what was offered, burst included."""
    time = Time()
    assert outage(pacing(time), time, 300, 20) <= 1.1 * 300 * 20 + RETRY_BURST
    time = Time()
    held = outage(pacing(time), time, 300, 20)
    assert held < 0.3 * 300 * 20


def test_throughput_is_back_within_a_minute() -> None:
    """After an outage at least 90 % of what is offered goes through again."""
    time = Time()
    paced = pacing(time)
    outage(paced, time, 300, 20)
    passed = 0
    for second in range(70):
        time.now += 1
        for _ in range(20):
            if not paced.held_back():
                paced.succeeded()
                passed += second >= 60
    assert passed >= 0.9 * 10 * 20


def test_a_healthy_side_is_never_held_back() -> None:
    """The brake needs failures, and forgets them."""
    time = Time()
    paced = pacing(time)
    for _ in range(100):
        paced.succeeded()
        assert not paced.held_back()
    for _ in range(50):
        paced.failed()
    time.now += WINDOW_S + 1
    assert not any(paced.held_back() for _ in range(100))


def test_calls_start_in_the_order_of_asking() -> None:
    """Calls that keep coming overtake nobody, one that is cancelled holds nobody up, and what ends a question
    that was begun goes first.
    """
    started: list[str] = []

    async def run() -> None:
        paced = pacing(Time(), concurrency=1)

        async def call(name: str, *, ahead: bool = False) -> None:
            async with paced.slot(ahead=ahead):
                started.append(name)
                if name == "first":
                    calls.extend(asyncio.create_task(call(each)) for each in ("late", "later"))
                    calls.append(asyncio.create_task(call("ahead", ahead=True)))
                    calls[2].cancel()
                await asyncio.sleep(0.01)

        calls = [asyncio.create_task(call(each)) for each in ("first", "second", "gone", "third")]
        async with asyncio.timeout(60):
            for at in range(4):
                await asyncio.gather(calls[at], return_exceptions=True)
            await asyncio.gather(*calls[4:])

    asyncio.run(run())
    assert started == ["first", "second", "ahead", "third", "late", "later"]

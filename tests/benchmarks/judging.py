"""What the judge stage costs beside the bare SDK behind a semaphore: the same calls, the same latencies."""

import asyncio
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.clock import SystemClock
from daemon.store.schema import upgrade
from daemon.store.store import Store
from policies.policy import JudgingRule
from tests.daemon.stages.judge.court import PRICED, Court, config, over_http
from tests.servers.paced import paced, text

CALLS = 640
CONCURRENCY = 64
SEED = 20_260_101
DEADLINE_S = 240.0
CONSTANT = [1.0] * CALLS
CPU_ROUNDS = 5
QUICK = [0.02] * CALLS


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one round: seconds on the wall and of this process's CPU."""

    wall_s: float
    cpu_s: float


def run() -> dict[str, float]:
    """Walls over walls, and CPU of a stored judgement over that of a bare call. The stage starts cold, with
    one judgement before all others, has a price and a budget, and writes SQLite with synchronous=FULL. CPU is
    the median of alternating rounds; the servers are other processes.
    """
    stage, bare = _both(_log_normal())
    tail = stage.wall_s / bare.wall_s
    stage, bare = _both(CONSTANT)
    rounds = [_both(QUICK) for _ in range(CPU_ROUNDS)]
    return {
        "judge_tail_ratio": tail,
        "judge_overhead_1s": stage.wall_s / bare.wall_s,
        "judge_cpu_ratio": statistics.median(ours.cpu_s / theirs.cpu_s for ours, theirs in rounds),
    }


def _log_normal() -> list[float]:
    """Sigma 1, median 1 s."""
    dice = random.Random(SEED)
    return [math.exp(dice.gauss(0.0, 1.0)) for _ in range(CALLS)]


def _both(latencies: Sequence[float]) -> tuple[Cost, Cost]:
    """The stage, then the SDK with what the stage has asked."""
    with tempfile.TemporaryDirectory() as folder, paced(latencies) as url:
        store = Store(f"sqlite:///{Path(folder) / 'bench.db'}")
        upgrade(store)
        court = _court(store, url, len(latencies))
        ours = _cost(lambda: _judged(court))
        assert len(court.verdicts) == len(latencies)
        bodies = [row.request for row in sorted(court.calls, key=lambda row: row.judgement_id)]
        theirs = _cost(lambda: _asked(url, bodies))
        store.close()
    return ours, theirs


def _court(store: Store, url: str, answers: int) -> Court:
    court = Court(
        store,
        clock=SystemClock(),
        judge=over_http(url, deadline_s=DEADLINE_S),
        config=config(concurrency=CONCURRENCY, price=PRICED, daily_budget_usd=1e6, deadline_s=DEADLINE_S),
        rule=JudgingRule(samples=1),
        real_time=True,
    )
    court.want_scores(*(text(number) for number in range(answers)))
    return court


async def _judged(court: Court) -> None:
    stage = court.stage()
    try:
        while await stage.step(court.role.value):
            pass
    finally:
        await court.judge.close()


async def _asked(url: str, bodies: Sequence[dict[str, Any]]) -> None:
    from openai import AsyncOpenAI

    places = asyncio.Semaphore(CONCURRENCY)

    async def ask(client: AsyncOpenAI, body: dict[str, Any]) -> None:
        async with places:
            reply = await client.chat.completions.create(**body)
            assert reply.choices[0].message.content

    async with AsyncOpenAI(api_key="k", base_url=url, max_retries=0, timeout=DEADLINE_S) as client:
        await asyncio.gather(*(ask(client, body) for body in bodies))


def _cost(work: Callable[[], Coroutine[Any, Any, None]]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(work())
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)

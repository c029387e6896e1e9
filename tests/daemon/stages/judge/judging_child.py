"""A process that judges until nothing is open, to be killed."""

import asyncio

from daemon.clock import SystemClock
from daemon.store import judgements
from daemon.store.store import Store
from policies.policy import JudgingRule
from tests.daemon.stages.judge.court import CONFIG, Court, over_http

CONCURRENCY = 4
CLAIM_S = 2.5


def main(store_url: str, judge_url: str, owner: str) -> None:
    store = Store(store_url)
    court = Court(
        store,
        clock=SystemClock(),
        judge=over_http(judge_url, deadline_s=1.0),
        config=CONFIG.model_copy(update={"concurrency": CONCURRENCY, "deadline_s": 1.0}),
        rule=JudgingRule(samples=1),
        claim_s=CLAIM_S,
        claim_batch=24,
        owner=owner,
        real_time=True,
    )
    stage = court.stage()

    async def run() -> None:
        while store.read(judgements.open_count):
            if not await stage.step(court.role):
                await asyncio.sleep(0.05)
        await court.judge.close()

    asyncio.run(run())
    store.close()

"""From the queue to cases that can be asked about: a claim, its material, and what is answered already."""

import asyncio
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.stages.judge.assessor import Assessor, ClaimedCase
from daemon.stages.judge.round import Docket, Sitting
from daemon.store import calls, claims, judgements
from daemon.store.claims import Claim
from daemon.store.judgements import Material
from daemon.store.store import Store


@dataclass(frozen=True, slots=True)
class Claiming:
    """Claims for one owner. A claim lasts `claim_s` seconds. `reasoning`: what was thought is shown."""

    store: Store
    clock: Clock
    owner: str
    claim_s: float
    reasoning: bool

    async def claim(
        self, assessor: Assessor, sitting: Sitting, most: int
    ) -> tuple[Docket, list[ClaimedCase]]:
        """Up to so many judgements that are due. One that was erased meanwhile is left out."""
        expires_at = self.clock.now() + self.claim_s
        mine = await asyncio.to_thread(
            self.store.write, lambda c: self._claim(c, assessor.named.name, expires_at, most)
        )
        if not mine:
            return Docket(sitting, expires_at, {}), []
        shown = partial(judgements.material, claims=mine, reasoning=self.reasoning, whole=assessor.whole)
        found = await asyncio.to_thread(self.store.read, shown)
        cases = [_prepared(assessor, claim, found[claim.id]) for claim in mine if claim.id in found]
        keys = [key for case in cases for key in assessor.keys(case)]
        sitting.forget()
        stored = await asyncio.to_thread(self.store.read, lambda c: calls.reusable(c, keys))
        return Docket(sitting, expires_at, stored), cases

    def _claim(self, connection: Connection, judge: str, expires_at: float, most: int) -> list[Claim]:
        return claims.claim(
            connection,
            judge=judge,
            owner=self.owner,
            now=self.clock.now(),
            expires_at=expires_at,
            limit=most,
        )


def _prepared(assessor: Assessor, claim: Claim, material: Material) -> ClaimedCase:
    """What this code cannot show is the fault of one case: the others are judged."""
    try:
        return assessor.prepared(claim, material)
    except Exception as error:  # noqa: BLE001 - raised where the case is judged
        return ClaimedCase(claim, material, broken=error)

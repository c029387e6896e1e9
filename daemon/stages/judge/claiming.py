"""From the queue to cases that can be asked about: a claim, its material, and what is answered already."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.config.settings import JudgeConfig
from daemon.stages.judge.asker import Asker
from daemon.stages.judge.questions import Posing
from daemon.stages.judge.round import Docket, Question, Sitting
from daemon.store import calls, claims, judgements
from daemon.store.claims import Claim
from daemon.store.judgements import Material
from daemon.store.store import Store
from policies.records import Role


@dataclass(frozen=True, slots=True)
class Case:
    """A claimed judgement with what is shown of it, in one order or both."""

    claim: Claim
    material: Material
    questions: tuple[Question, ...] = ()
    broken: Exception | None = None
    """What kept the questions from being put."""


@dataclass(frozen=True, slots=True)
class Claiming:
    """Claims for one owner. A claim lasts `claim_s` seconds; `at_once`: most judgements of one claim."""

    store: Store
    clock: Clock
    posing: Posing
    owner: str
    claim_s: float
    at_once: int

    def most(self, config: JudgeConfig) -> int:
        """How many judgements are held at a time: while a judge is asked about some, as many again are ready,
        so that no place in flight waits for a claim. No more than the configured rate lets through while the
        claims last.
        """
        most = max(self.at_once, 2 * config.concurrency)
        if config.requests_per_minute is None:
            return most
        # Less the one that has just begun when a judgement is claimed.
        calls_possible = config.requests_per_minute * (self.claim_s - config.deadline_s) / 60 - 1
        return max(1, min(most, int(calls_possible / max(2, self.posing.rule.samples))))

    async def claim(self, asker: Asker, sitting: Sitting, most: int) -> tuple[Docket, list[Case]]:
        """Up to so many judgements that are due. One that was erased meanwhile is left out."""
        expires_at = self.clock.now() + self.claim_s
        mine = await asyncio.to_thread(
            self.store.write, lambda c: self._claim(c, asker.role, expires_at, most)
        )
        if not mine:
            return Docket(sitting, expires_at, {}), []
        found = await asyncio.to_thread(self.store.read, lambda c: self._material(c, mine))
        cases = [self._prepared(asker, claim, found[claim.id]) for claim in mine if claim.id in found]
        keys = [asker.reuse_key(each) for case in cases for each in case.questions]
        sitting.forget()
        stored = await asyncio.to_thread(self.store.read, lambda c: calls.reusable(c, keys))
        return Docket(sitting, expires_at, stored), cases

    def _claim(self, connection: Connection, role: Role, expires_at: float, most: int) -> list[Claim]:
        return claims.claim(
            connection,
            role=role,
            owner=self.owner,
            now=self.clock.now(),
            expires_at=expires_at,
            limit=most,
        )

    def _material(self, connection: Connection, mine: list[Claim]) -> Mapping[int, Material]:
        return judgements.material(connection, mine, reasoning=self.posing.rule.show_reasoning)

    def _prepared(self, asker: Asker, claim: Claim, material: Material) -> Case:
        """What this code cannot show is the fault of one case: the others are judged."""
        try:
            return Case(claim, material, self.posing.questions(asker, claim, material))
        except Exception as error:  # noqa: BLE001 - raised where the case is judged
            return Case(claim, material, broken=error)

"""Assessors put together from what the configuration says of a judge."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from connectors.base import Judge
from connectors.judges.pacing import Pacing
from connectors.judges.prices import Tariff, Tariffs
from daemon.children.resident import Resident
from daemon.clock import Clock
from daemon.config.judges import ChatJudgeConfig, LocalJudgeConfig
from daemon.config.settings import Settings
from daemon.metrics.registry import Metrics
from daemon.stages.judge.asker import Asker
from daemon.stages.judge.assessor import Assessor, Terms
from daemon.stages.judge.chat import ChatAssessor
from daemon.stages.judge.judge import Claims
from daemon.stages.judge.local import LocalAssessor
from daemon.stages.judge.questions import Posing
from daemon.wiring import local
from policies.judging.constitution import Constitution
from policies.judging.judges import NamedJudge
from policies.judging.prompts import system_text
from policies.judging.rubric import Rubric
from policies.policy import JudgingRule


@dataclass(frozen=True, slots=True)
class Court:
    """What all judges of a daemon have in common."""

    rule: JudgingRule
    constitution: Constitution
    rubric: Rubric
    metrics: Metrics
    clock: Clock
    claims: Claims
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    nonce: Callable[[], str] = lambda: secrets.token_hex(8)
    random: Random = field(default_factory=Random)

    def assessor(
        self, named: NamedJudge, settings: Settings, clients: Mapping[str, Judge], prices: Tariffs
    ) -> Assessor:
        """The configured judge of that name. Raises ConfigError as `local.checked`."""
        config = settings.judges[named.name]
        if isinstance(config, LocalJudgeConfig):
            return self.local(named, local.resident(named.name, config, settings), config)
        return self.chat(named, clients[named.name], config, prices[named.name])

    def chat(
        self, named: NamedJudge, judge: Judge, config: ChatJudgeConfig, tariff: Tariff | None
    ) -> ChatAssessor:
        """A chat model, behind a client."""
        asker = Asker(
            named=named,
            judge=judge,
            config=config,
            system=system_text(self.constitution, self.rubric, reasoning=self.rule.show_reasoning),
            dimensions=self.rubric.names,
            tariff=tariff,
            pacing=Pacing(
                concurrency=config.concurrency,
                requests_per_minute=config.requests_per_minute,
                monotonic=self.clock.monotonic,
                sleep=self.sleep,
                random=self.random,
            ),
            metrics=self.metrics,
            clock=self.clock,
            sleep=self.sleep,
            random=self.random,
        )
        posing = Posing(self.rule, self.rubric.names, self.nonce)
        return ChatAssessor(asker, posing, claim_s=self.claims.last_s, at_once=self.claims.at_once)

    def local(self, named: NamedJudge, resident: Resident, config: LocalJudgeConfig) -> LocalAssessor:
        """A reward model, in its child."""
        most = max(self.claims.at_once, 2 * config.concurrency)
        return LocalAssessor(
            resident,
            named=named,
            model=config.model,
            family=config.family,
            terms=Terms(most=most, deadline_s=config.deadline_s),
            metrics=self.metrics,
            clock=self.clock,
        )

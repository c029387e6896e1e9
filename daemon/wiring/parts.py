"""The composition root: settings in, parts out. The only place that picks adapters.

Parts are built when first asked for, so that a command pays for what it uses and imports what it needs.
"""

import os
import platform
import socket
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.base import Judge, Sampler, ServingTarget
from connectors.decoders.detect import Decoders
from daemon import log, version
from daemon.adapters.basedigest import CACHE, BaseOnDisk
from daemon.budget import Budget
from daemon.children.policy import PolicyWork
from daemon.clock import Clock, SystemClock
from daemon.config.judges import ChatJudgeConfig
from daemon.config.secret import alert_token, secret
from daemon.config.settings import Settings, SourceConfig
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.stages.curate.curate import Curate
from daemon.stages.gate.evaluate import Evaluate
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.rollout.promote import Promote
from daemon.stages.train.occasion import Occasion
from daemon.stages.watch.watch import Watch
from daemon.status.status import Status
from daemon.store import adapters as adapter_rows
from daemon.store import losses, stops
from daemon.store.store import Store
from daemon.wiring.outside import judge_of, source_of
from policies.policy import EndpointSampling

if TYPE_CHECKING:
    from daemon.adapters.adapters import Manifest
    from daemon.stages.gate.release import Releases
    from daemon.stages.judge.assessor import Assessor
    from daemon.stages.judge.judge import Claims, JudgeStage
    from daemon.stages.judge.plan import Plan
    from daemon.stages.judge.recheck import Recheck
    from daemon.stages.review.exchange import Review
    from daemon.stages.rollout.rollout import Rollout
    from daemon.stages.train.outlook import Planner
    from daemon.stages.train.trainer import Trainer
    from daemon.wiring.pricing import Tariffs
    from policies.judging.constitution import Constitution
    from policies.judging.judges import NamedJudge
    from policies.judging.rubric import Rubric


class Wiring:
    """All parts of one daemon or one command. `close` ends what was built."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self._digests: dict[str, str] = {}

    def prepare_store(self) -> None:
        """Makes the schema of a new database; raises StoreError for one of another version."""
        from daemon.store import schema

        if self.store.read(schema.current) is None:
            schema.upgrade(self.store)
        schema.verify(self.store)

    def close(self) -> None:
        """Closes the store, if it was opened. Judges and sources are closed by what runs them."""
        if "store" in self.__dict__:
            self.store.close()

    # --- foundations

    @cached_property
    def store(self) -> Store:
        return Store(self.settings.store_url)

    @cached_property
    def metrics(self) -> Metrics:
        metrics = Metrics()
        metrics.prepare(sources=tuple(each.name for each in self.settings.sources), judges=self.named)
        metrics.build_info.labels(version(), platform.python_version()).set(1)
        for judge in self.named:
            limit = self.settings.judges[judge.name].daily_budget_usd
            if limit is not None:
                metrics.budget.labels(*judge.labels).set(limit)
        metrics.training_kl_limit.set(self.settings.policy.guards.kl_nats.limit)
        return metrics

    @cached_property
    def latch(self) -> Latch:
        return Latch(self.store, self.clock, self.metrics)

    @cached_property
    def budget(self) -> Budget:
        return Budget(self.store, self.clock, self.metrics)

    @cached_property
    def base_on_disk(self) -> BaseOnDisk:
        return BaseOnDisk(self.settings.policy.base, cache=self.settings.state_dir / CACHE)

    @property
    def adapters_dir(self) -> Path:
        return self.settings.state_dir / "adapters"

    @property
    def alert_token(self) -> str | None:
        """Read anew each time: a rotated secret counts at once."""
        return alert_token(self.settings.web)

    # --- stages

    def ingest(self, source: SourceConfig) -> Ingest:
        """The ingest stage of one configured source."""
        stages = self.settings.stages
        return Ingest(
            source=source_of(source, state_dir=self.settings.state_dir),
            decoders=Decoders(source.decoder),
            store=self.store,
            metrics=self.metrics,
            clock=self.clock,
            splits=self.settings.policy.splits,
            batch_records=stages.batch_records,
            batch_s=stages.batch_s,
            dead_letter_ratio=stages.dead_letter_ratio,
            versions=source.agent_version,
        )

    @cached_property
    def judges(self) -> Mapping[str, Judge]:
        return {
            name: judge_of(name, judge)
            for name, judge in self.settings.judges.items()
            if isinstance(judge, ChatJudgeConfig)
        }

    @cached_property
    def plan(self) -> "Plan":
        from daemon.stages.judge.plan import Plan

        return Plan(store=self.store, clock=self.clock, rule=self.settings.policy.judging, judges=self.named)

    @cached_property
    def documents(self) -> "tuple[Constitution, Rubric]":
        from daemon.wiring.judges import documents

        return documents(self.settings.policy)

    @cached_property
    def named(self) -> "tuple[NamedJudge, ...]":
        """The configured judges, with the versions that they have now."""
        from daemon.wiring.judges import named

        return named(self.settings.judges, self.settings.policy.judging, *self.documents)

    @cached_property
    def prices(self) -> "Tariffs":
        """What the judges' calls cost. Says once of which that is not known and may be money."""
        from daemon.wiring.pricing import told

        return told(self.settings.judges)

    @cached_property
    def assessors(self) -> "tuple[Assessor, ...]":
        """The configured judges, ready to be asked. Connections and children belong to one event loop."""
        from daemon.wiring.assessors import Court

        settings = self.settings
        court = Court(settings.policy.judging, *self.documents, self.metrics, self.clock, self._claims)
        return tuple(court.assessor(each, settings, self.judges, self.prices) for each in self.named)

    @property
    def _claims(self) -> "Claims":
        from daemon.stages.judge.judge import Claims

        return Claims(self.owner, self.settings.stages.claim_s, self.settings.stages.claim_batch)

    def forget_judges(self) -> None:
        """Has the judges built anew when they are wanted again: on the event loop of then."""
        for name in ("judge_stage", "assessors", "judges"):
            self.__dict__.pop(name, None)

    @cached_property
    def judge_stage(self) -> "JudgeStage":
        from daemon.stages.judge.judge import JudgeStage

        return JudgeStage(
            store=self.store,
            assessors=self.assessors,
            rule=self.settings.policy.judging,
            budget=self.budget,
            latch=self.latch,
            metrics=self.metrics,
            clock=self.clock,
            claims=self._claims,
        )

    @cached_property
    def recheck(self) -> "Recheck":
        from daemon.stages.judge.recheck import Recheck
        from daemon.store.alignment import NEWEST_LABELS

        # A judge that is of use decides a third of the pairs or more.
        most = 3 * max(self.settings.policy.halts.alignment_window, self.settings.policy.gate.min_labels)
        most = min(most, NEWEST_LABELS)
        return Recheck(store=self.store, clock=self.clock, judges=self.named, most=most)

    @cached_property
    def policy_work(self) -> PolicyWork:
        return PolicyWork(
            spec=self.settings.policy,
            training=self.settings.training,
            directory=self.settings.state_dir / "jobs",
            adapter_path=self._verified_path,
            endpoint=self.endpoint,
        )

    @cached_property
    def endpoint(self) -> Sampler | None:
        """Where the served policy is asked for answers; None: a child process samples them."""
        sampling = self.settings.policy.sampling
        if not isinstance(sampling, EndpointSampling):
            return None
        from connectors.samplers.openai import EndpointSampler

        return EndpointSampler(
            base_url=sampling.base_url,
            model=sampling.model,
            api_key=secret(None, sampling.api_key_file, key="policy.sampling.api_key_file"),
            temperature=sampling.temperature,
            max_new_tokens=sampling.max_new_tokens,
        )

    @cached_property
    def curate(self) -> Curate:
        stages = self.settings.stages
        return Curate(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            spec=self.settings.policy,
            judges=self.named,
            sample=self.policy_work.sample,
            device=self.policy_work.waits_for,
            halts=self.latch,
            directory=self.settings.state_dir / "snapshots",
            seed=self.settings.seed,
            least=stages.sample_least,
            most=stages.sample_most,
            patience_s=stages.sample_patience_s,
        )

    @cached_property
    def occasion(self) -> Occasion:
        return Occasion(
            store=self.store,
            clock=self.clock,
            latch=self.latch,
            settings=self.settings,
            cut_off=lambda: self.trainer.cut_off(by_itself=False) is not None,
        )

    @cached_property
    def trainer(self) -> "Trainer":
        from daemon.stages.train.trainer import Trainer

        return Trainer(
            store=self.store,
            state_dir=self.settings.state_dir,
            policy=self.settings.policy,
            training=self.settings.training,
            latch=self.latch,
            metrics=self.metrics,
            clock=self.clock,
            seed=self.settings.seed,
        )

    @cached_property
    def planner(self) -> "Planner":
        from daemon.stages.train.outlook import Planner

        return Planner(
            store=self.store,
            state_dir=self.settings.state_dir,
            asked=self.trainer.asked,
            stall_s=self.settings.training.stall_s,
        )

    @cached_property
    def evaluate(self) -> Evaluate:
        return Evaluate(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            spec=self.settings.policy,
            judges=self.named,
            compare=self.policy_work.compare,
            verify=self._verified_path,
            halts=self.latch,
            seed=self.settings.seed,
            overrides=self.settings.overrides,
        )

    @cached_property
    def releases(self) -> "Releases":
        from daemon.stages.gate.release import Releases

        return Releases(
            store=self.store, clock=self.clock, spec=self.settings.policy, judges=self.named,
            grade=self.policy_work.grade, directory=self.settings.state_dir / "rewards",
            base=self.base_on_disk,
        )  # fmt: skip

    def _verified_path(self, adapter: str) -> Path:
        """The adapter's directory, verified. Raises AdapterRefusedError."""
        directory = self.adapters_dir / adapter
        found = self._verify(directory, adapter)
        self.base_on_disk.check(adapter, found.base)
        return directory

    def _verify(self, directory: Path, adapter: str) -> "Manifest":
        """Against the whole digest that the store has. It never changes, so it is read once."""
        from daemon.adapters.adapters import verify

        digest = self._digests.get(adapter) or self.store.read(lambda c: adapter_rows.digest(c, adapter))
        if digest is not None:
            self._digests[adapter] = digest
        return verify(directory, adapter, digest=digest)

    @cached_property
    def targets(self) -> tuple[ServingTarget, ...]:
        from connectors.serving.directory import DirectoryTarget

        return tuple(
            DirectoryTarget(each.path, name=each.name, now=self.clock.now) for each in self.settings.targets
        )

    @cached_property
    def rollout(self) -> "Rollout":
        from daemon.stages.rollout.rollout import Rollout

        return Rollout(
            store=self.store,
            file=self.settings.rollout.file,
            targets=self.targets,
            adapters_dir=self.adapters_dir,
            base=self.base_on_disk.now,
            latch=self.latch,
            clock=self.clock,
            metrics=self.metrics,
            verify=self._verify,
        )

    @cached_property
    def promote(self) -> Promote:
        return Promote(store=self.store, rollout=self.rollout)

    @cached_property
    def watch(self) -> Watch:
        return Watch(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            spec=self.settings.policy,
            judges=self.named,
            latch=self.latch,
            budget=self.budget,
        )

    @cached_property
    def review(self) -> "Review":
        from daemon.stages.review.exchange import Review

        return Review(store=self.store, clock=self.clock, listed=self.settings.review.reviewers)

    @cached_property
    def status(self) -> Status:
        return Status(
            store=self.store,
            clock=self.clock,
            settings=self.settings,
            judges=self.named,
            training=self.occasion.due,
            conditions=self._conditions,
        )

    def _conditions(self) -> list[str]:
        """What the rollout says, which rules are set aside, and where a source waits for a person."""
        stopped = [each.line for each in self.store.read(stops.standing) if not each.accepted]
        aside = [f"{name} is set aside: a model may judge its like" for name in self.settings.overrides]
        lost = self.store.read(losses.standing).values()
        return [*(str(condition) for condition in self.rollout.status().conditions), *aside, *stopped, *lost]

    def logger(self, room: str) -> log.Logger:
        """A logger for a room."""
        return log.get(room)

"""The composition root: settings in, parts out. The only place that picks adapters.

Parts are built when first asked for, so that a command pays for what it uses and imports what it needs. What
all stand on is in `foundations`.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from daemon import log
from daemon.config.settings import SourceConfig
from daemon.wiring.foundations import Foundations
from policies.policy import EndpointSampling
from policies.records import Role

if TYPE_CHECKING:
    from connectors.base import Judge, Sampler, ServingTarget
    from connectors.judges.prices import Tariffs
    from daemon.children.policy import PolicyWork
    from daemon.stages.curate.curate import Curate
    from daemon.stages.curate.sample import Sampling
    from daemon.stages.gate.evaluate import Evaluate
    from daemon.stages.gate.release import Releases
    from daemon.stages.ingest.ingest import Ingest
    from daemon.stages.judge.judge import JudgeStage
    from daemon.stages.judge.plan import Plan
    from daemon.stages.judge.recheck import Recheck
    from daemon.stages.review.exchange import Review
    from daemon.stages.rollout.promote import Promote
    from daemon.stages.rollout.rollout import Rollout
    from daemon.stages.train.occasion import Occasion
    from daemon.stages.train.outlook import Planner
    from daemon.stages.train.trainer import Trainer
    from daemon.stages.watch.watch import Watch
    from daemon.status.status import Status
    from policies.judging.constitution import Constitution
    from policies.judging.rubric import Rubric


class Wiring(Foundations):
    """All parts of one daemon or one command. `close` ends what was built."""

    def ingest(self, source: SourceConfig) -> "Ingest":
        """The ingest stage of one configured source."""
        from connectors.decoders.detect import Decoders
        from daemon.stages.ingest.ingest import Ingest
        from daemon.wiring.outside import source_of

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
        )

    @cached_property
    def judges(self) -> "Mapping[Role, Judge]":
        from daemon.wiring.outside import judge_of

        return {role: judge_of(role, judge) for role, judge in self.settings.judges.items()}

    async def close_judges(self) -> None:
        """Closes the judges that were built, and lets go of them: what asks next builds its own, for its own
        event loop.
        """
        for built in self.__dict__.pop("judges", {}).values():
            await built.close()
        self.__dict__.pop("judge_stage", None)

    @cached_property
    def plan(self) -> "Plan":
        from daemon.stages.judge.plan import Plan

        return Plan(store=self.store, clock=self.clock, rule=self.settings.policy.judging, roles=self.roles)

    @cached_property
    def documents(self) -> "tuple[Constitution, Rubric]":
        from daemon.wiring.judges import documents

        return documents(self.settings.policy)

    @cached_property
    def versions(self) -> Mapping[Role, str]:
        from daemon.wiring.judges import versions

        return versions(self.settings.judges, self.settings.policy.judging, *self.documents)

    @cached_property
    def prices(self) -> "Tariffs":
        """What the judges' calls cost. Says once of which that is not known and may be money."""
        from daemon.wiring.pricing import tariffs, uncounted

        judges = self.settings.judges
        found = tariffs(judges)
        for role in uncounted(judges, found):
            model = judges[role].model
            log.get("judge").warning("judge_price_unknown", role=role.value, model=model, counted_as_usd=0)
        return found

    @cached_property
    def judge_stage(self) -> "JudgeStage":
        from daemon.stages.judge.judge import JudgeStage

        policy, stages = self.settings.policy, self.settings.stages
        constitution, rubric = self.documents
        return JudgeStage(
            store=self.store,
            judges=self.judges,
            configs=self.settings.judges,
            versions=self.versions,
            prices=self.prices,
            policy=policy,
            constitution=constitution,
            rubric=rubric,
            budget=self.budget,
            latch=self.latch,
            metrics=self.metrics,
            clock=self.clock,
            owner=self.owner,
            claim_s=stages.claim_s,
            claim_batch=stages.claim_batch,
        )

    @cached_property
    def recheck(self) -> "Recheck":
        from daemon.stages.judge.recheck import Recheck
        from daemon.store.alignment import NEWEST_LABELS

        # A judge that is of use decides a third of the pairs or more.
        most = 3 * max(self.settings.policy.halts.alignment_window, self.settings.policy.gate.min_labels)
        most = min(most, NEWEST_LABELS)
        return Recheck(store=self.store, clock=self.clock, versions=self.versions, most=most)

    @cached_property
    def policy_work(self) -> "PolicyWork":
        from daemon.children.policy import PolicyWork

        return PolicyWork(
            spec=self.settings.policy,
            training=self.settings.training,
            directory=self.settings.state_dir / "jobs",
            adapter_path=self.verified_path,
            endpoint=self.endpoint,
        )

    @cached_property
    def endpoint(self) -> "Sampler | None":
        """Where the served policy is asked for answers; None: a child process samples them."""
        sampling = self.settings.policy.sampling
        if not isinstance(sampling, EndpointSampling):
            return None
        from connectors.samplers.openai import EndpointSampler
        from daemon.config.secret import secret

        return EndpointSampler(
            base_url=sampling.base_url,
            model=sampling.model,
            api_key=secret(None, sampling.api_key_file, key="policy.sampling.api_key_file"),
            temperature=sampling.temperature,
            max_new_tokens=sampling.max_new_tokens,
        )

    @cached_property
    def curate(self) -> "Curate":
        from daemon.stages.curate.curate import Curate

        return Curate(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            rule=self.settings.policy.curation,
            sampling=self.sampling,
        )

    @cached_property
    def sampling(self) -> "Sampling":
        from daemon.stages.curate.sample import Batching, Generation, Sampling

        stages, work = self.settings.stages, self.policy_work
        return Sampling(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            spec=self.settings.policy,
            roles=self.roles,
            halts=self.latch,
            generation=Generation(work.sample, self.settings.seed, work.waits_for),
            batching=Batching(stages.sample_least, stages.sample_most, stages.sample_patience_s),
        )

    @cached_property
    def occasion(self) -> "Occasion":
        from daemon.stages.train.occasion import Occasion

        return Occasion(
            store=self.store,
            clock=self.clock,
            latch=self.latch,
            settings=self.settings,
            cut_off=self._cut_off,
        )

    def _cut_off(self) -> bool:
        """Whether a run that was cut off can go on. The trainer is loaded where there may be one."""
        from daemon.stages.train.leavings import Leavings

        left = Leavings(self.store, self.settings.state_dir / "runs").resumable()
        return left is not None and self.trainer.cut_off(by_itself=False) is not None

    @cached_property
    def trainer(self) -> "Trainer":
        from daemon.stages.train.trainer import Given, Trainer

        return Trainer(
            store=self.store,
            state_dir=self.settings.state_dir,
            policy=self.settings.policy,
            training=self.settings.training,
            latch=self.latch,
            metrics=self.metrics,
            clock=self.clock,
            given=Given(self.settings.seed, judged=Role.LARGE in self.roles),
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
    def evaluate(self) -> "Evaluate":
        from daemon.stages.gate.compare import Comparing
        from daemon.stages.gate.evaluate import Evaluate

        return Evaluate(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            spec=self.settings.policy,
            versions=self.versions,
            comparing=Comparing(
                store=self.store,
                clock=self.clock,
                metrics=self.metrics,
                compare=self.policy_work.compare,
                seed=self.settings.seed,
            ),
            verify=self.verified_path,
            halts=self.latch,
        )

    @cached_property
    def releases(self) -> "Releases":
        from daemon.stages.gate.release import Releases

        return Releases(
            store=self.store, clock=self.clock, spec=self.settings.policy, versions=self.versions,
            grade=self.policy_work.grade, directory=self.settings.state_dir / "rewards",
            base=self.base_on_disk,
        )  # fmt: skip

    @cached_property
    def target(self) -> "ServingTarget":
        from connectors.serving.directory import DirectoryTarget

        return DirectoryTarget(self.settings.rollout.directory, now=self.clock.now)

    @cached_property
    def rollout(self) -> "Rollout":
        from daemon.stages.rollout.rollout import Rollout

        return Rollout(
            store=self.store,
            file=self.settings.rollout.file,
            target=self.target,
            adapters_dir=self.adapters_dir,
            base=self.base_on_disk.now,
            latch=self.latch,
            clock=self.clock,
            metrics=self.metrics,
            verify=self.verify,
        )

    @cached_property
    def promote(self) -> "Promote":
        from daemon.stages.rollout.promote import Promote

        return Promote(store=self.store, rollout=self.rollout)

    @cached_property
    def watch(self) -> "Watch":
        from daemon.stages.watch.watch import Watch

        return Watch(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            spec=self.settings.policy,
            versions=self.versions,
            latch=self.latch,
            budget=self.budget,
        )

    @cached_property
    def review(self) -> "Review":
        from daemon.stages.review.exchange import Review

        return Review(store=self.store, clock=self.clock, listed=self.settings.review.reviewers)

    @cached_property
    def status(self) -> "Status":
        from daemon.status.status import Status

        return Status(
            store=self.store,
            clock=self.clock,
            settings=self.settings,
            versions=self.versions,
            training=self.occasion.due,
            conditions=self._conditions,
        )

    def _conditions(self) -> list[str]:
        """What the rollout says, and where a source waits for a person."""
        from daemon.store import stops

        stopped = [each.line for each in self.store.read(stops.standing) if not each.accepted]
        return [*(str(condition) for condition in self.rollout.status().conditions), *stopped]

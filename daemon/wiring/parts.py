"""The composition root: settings in, parts out. The only place that picks adapters.

Parts are built when first asked for, so that a command pays for what it uses and imports what it needs. What
all stand on is in `foundations`.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from daemon.config.settings import SourceConfig
from daemon.wiring.foundations import Foundations
from policies.judging.judges import of_roles
from policies.policy import EndpointSampling
from policies.records import Role
from policies.spans import JoinRule

if TYPE_CHECKING:
    from connectors.base import Judge, Sampler, ServingTarget
    from connectors.judges.prices import Tariffs
    from daemon.children.policy import PolicyWork
    from daemon.stages.curate.curate import Curate
    from daemon.stages.curate.hearing import Hearing
    from daemon.stages.curate.sample import Sampling
    from daemon.stages.gate.evaluate import Evaluate
    from daemon.stages.gate.release import Releases
    from daemon.stages.ingest.ingest import Ingest
    from daemon.stages.judge.assessor import Assessor
    from daemon.stages.judge.judge import Claims, JudgeStage
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


class Wiring(Foundations):
    """All parts of one daemon or one command. `close` ends what was built."""

    def ingest(self, source: SourceConfig) -> "Ingest":
        """The ingest stage of one configured source."""
        from connectors.decoders.detect import configured
        from daemon.stages.ingest.ingest import Ingest
        from daemon.stages.ingest.intake import IntakeRule
        from daemon.wiring.outside import brake_of, source_of
        from policies.redaction import Redaction

        stages = self.settings.stages
        return Ingest(
            source=source_of(source, state_dir=self.settings.state_dir),
            decoders=configured(source.decoder, source.mapping),
            store=self.store,
            metrics=self.metrics,
            clock=self.clock,
            rule=IntakeRule(
                self.settings.policy.splits,
                batch_records=stages.batch_records,
                batch_s=stages.batch_s,
                dead_letter_ratio=stages.dead_letter_ratio,
                versions=source.agent_version,
                join=JoinRule(stages.join_settle_s, stages.join_quiet_s, stages.join_oldest_s),
                keep=source.keep,
                redaction=Redaction(self.settings.redaction.patterns),
            ),
            brake=brake_of(self.settings, self.store, self.clock),
        )

    @cached_property
    def judges(self) -> "Mapping[str, Judge]":
        """The clients of the chat models, by judge."""
        from daemon.config.judges import ChatJudgeConfig
        from daemon.wiring.outside import judge_of

        return {
            name: judge_of(name, judge)
            for name, judge in self.settings.judges.items()
            if isinstance(judge, ChatJudgeConfig)
        }

    async def close_judges(self) -> None:
        """Closes the judges that were built, and lets go of them: what asks next builds its own, for its own
        event loop.
        """
        for built in self.__dict__.pop("assessors", ()):
            await built.close()
        for name in ("judge_stage", "judges"):
            self.__dict__.pop(name, None)

    @cached_property
    def plan(self) -> "Plan":
        from daemon.stages.judge.plan import Plan

        return Plan(store=self.store, clock=self.clock, rule=self.settings.policy.judging, judges=self.named)

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
    def hearing(self) -> "Hearing":
        from daemon.stages.curate.hearing import Hearing

        return Hearing(store=self.store, clock=self.clock, rule=self.settings.policy.feedback)

    @cached_property
    def sampling(self) -> "Sampling":
        from daemon.stages.curate.sample import Batching, Generation, Sampling

        stages, work = self.settings.stages, self.policy_work
        return Sampling(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            spec=self.settings.policy,
            judges=self.named,
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
        from daemon.stages.train.inputs import RunInputs
        from daemon.stages.train.trainer import Trainer

        return Trainer(
            store=self.store,
            state_dir=self.settings.state_dir,
            policy=self.settings.policy,
            training=self.settings.training,
            latch=self.latch,
            metrics=self.metrics,
            clock=self.clock,
            given=RunInputs(self.settings.seed, of_roles(self.named, Role.LARGE)),
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
            judges=self.named,
            comparing=Comparing(
                store=self.store,
                clock=self.clock,
                metrics=self.metrics,
                compare=self.policy_work.compare,
                seed=self.settings.seed,
            ),
            verify=self.verified_path,
            halts=self.latch,
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

    @cached_property
    def targets(self) -> "tuple[ServingTarget, ...]":
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
            judges=self.named,
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
        from daemon.wiring.conditions import conditions

        return Status(
            store=self.store,
            clock=self.clock,
            settings=self.settings,
            judges=self.named,
            training=self.occasion.due,
            conditions=lambda: conditions(self.settings, self.store, self.clock, self.rollout),
        )

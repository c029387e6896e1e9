"""The engine for PPO: prompts in, and out a policy whose answers are rewarded better.

The steps are made by `ppo`; rewards are those of a released reward model, of verdicts that the snapshot has
of answers to its prompts, or a mixture of both.
"""

import random
from collections.abc import Sequence

from policies import prompted
from policies.answers import holds_answers
from policies.policy import TrainingGuards
from policies.recipes import PpoRecipe
from policies.training.engines import course, ppo, reward_model, rewarding
from policies.training.engines.course import Pupil, Reached
from policies.training.engines.engine import Lesson, Run, Trained
from policies.training.engines.ppo import Hooks, Ppo
from policies.training.engines.ppo_soundings import sounder_of
from policies.training.engines.reward_model import RewardModel
from policies.training.engines.rewarding import Rewarder
from policies.training.engines.roles import Roles
from policies.training.errors import JobError
from policies.training.jobs import PlanJob, TrainJob
from policies.training.layout import CHECKPOINTS
from policies.training.model import lora, probe, prompts
from policies.training.model.prompts import Prompted, PromptRoom
from policies.training.model.rendering import Rendering
from policies.training.planning.plan import Facts, TrainingPlan
from policies.training.planning.ppo import decide, new_tokens
from policies.training.planning.resolved import ResolvedPpo
from policies.training.sampling.generate import SampledAnswer
from policies.training.sampling.questions import Question

SEEN = 512
"""Most answers whose rewards an automatic ceiling is taken from."""
READ = frozenset({"kl_sequence", "kl_token", "entropy"})
"""Figures of a step's rollouts that the guards measure better, on the same prompts all through."""


class PpoEngine:
    """Proximal policy optimisation on a snapshot's prompts."""

    figures = ppo.FIGURES
    remedy = "raise policy.recipe.learning_rate or steps"

    def prepare(
        self, job: PlanJob | TrainJob, rendering: Rendering, positions: int | None
    ) -> Lesson[Prompted]:
        """Each prompt once, with its answers. A prompt without room for an answer is left out."""
        recipe = job.recipe
        assert isinstance(recipe, PpoRecipe)
        if holds_answers(job.snapshot):
            raise JobError(
                f"{job.snapshot.name} holds single answers: PPO learns from prompts, or from pairs"
            )
        found = prompted.read(job.snapshot, job.snapshot_id).prompts
        most = recipe.max_length if positions is None else min(recipe.max_length, positions)
        room = PromptRoom(most, new_tokens(recipe, job.guard_max_new_tokens))
        prepared = prompts.prepare(found, rendering, room)
        if not prepared.prompts:
            advice = ": lower policy.recipe.max_new_tokens" if prepared.left_out["no_room"] else ""
            raise JobError(f"nothing to learn from: {prepared.told}{advice}")
        known = [each for prompt in prepared.prompts for each in prompt.singles]
        if not known:
            raise JobError(f"none of {prepared.told} has an answer: a run is measured on some of them")
        return Lesson(
            items=prepared.prompts,
            offered=len(found),
            left_out=prepared.left_out,
            told=prepared.told,
            lengths=prompts.lengths_of(prepared.prompts),
            prompts=[each.ids for each in prepared.prompts],
            probe=probe.draw_answers(known, job.seed),
        )

    def plan(self, recipe: PpoRecipe, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
        """By the rules of `planning`."""
        return decide(recipe, guards, facts)

    def train(self, run: Run[Prompted]) -> Trained:
        """From the base, or from the parent, which is then the reference as well."""
        recipe = run.plan.recipe
        assert isinstance(recipe, ResolvedPpo)
        if run.job.reward is None and recipe.verdict_weight < 1:
            raise JobError(
                "PPO needs a reward model, and the job names none: release one, or set "
                "policy.recipe.verdict_weight to 1 to learn from stored verdicts alone"
            )
        pupil = course.begin(run)
        before = lora.fingerprint(lora.trainable(pupil.model))
        roles = Roles(pupil.model, run.rendering.pad)
        if pupil.reference is not None:
            roles.copy(lora.POLICY, pupil.reference, trained=False)
        learner, ceiling = _learner(run, recipe, pupil, roles)
        pupil.watch.sounder = sounder_of(run, recipe, roles, learner.collector.rewarder)
        course.taken_up(run, pupil.watch)
        run.reporter.report(
            "ready",
            metrics={"trainable": pupil.trainable, "prompts": len(run.lesson.items)}
            | ({} if ceiling is None else {"ceiling": ceiling}),
            note="; ".join([run.lesson.told, *run.lesson.notes]),
        )
        ended = learner.train()
        figures = {name: value for name, value in ended.figures.items() if name not in READ}
        reached = Reached(
            step=ended.steps,
            steps=recipe.steps,
            resumed_from=ended.resumed_from,
            figures=figures if ceiling is None else figures | {"ceiling": ceiling},
            halted=ended.reason if ended.state == "halted" else None,
        )
        return course.conclude(run, pupil, reached, before=before, release=roles.only_policy)


def _learner(run: Run[Prompted], recipe: ResolvedPpo, pupil: Pupil, roles: Roles) -> tuple[Ppo, float | None]:
    """PPO with its rewards, and the ceiling that they have."""
    asked = run.lesson.items
    model: RewardModel | None = None
    if run.job.reward is not None and recipe.verdict_weight < 1:
        model = reward_model.load(roles, run.job.reward.path, run.base)
    known = {
        (each.ids, answer): reward
        for each in asked
        for answer, reward in each.rewards.items()
        if reward is not None
    }
    verdicts = rewarding.stored(known) if known and recipe.verdict_weight > 0 else None
    ceiling = rewarding.resolved_ceiling(
        recipe, lambda: rewarding.mixtures(recipe, model, verdicts, _seen(asked, run.job.seed))
    )
    learner = Ppo(
        roles=roles,
        rendering=run.rendering,
        questions=[Question(each.ids) for each in asked],
        rewarder=Rewarder(recipe, ceiling, model=model, verdicts=verdicts),
        recipe=recipe,
        out=run.job.out / CHECKPOINTS,
        seed=run.job.seed,
        callback=pupil.watch,
        hooks=Hooks(
            extra_state=pupil.watch.state,
            between=lambda done, total: run.reporter.report("sampled", note=f"{done} of {total} answers"),
        ),
    )
    return learner, ceiling


def _seen(asked: Sequence[Prompted], seed: int) -> list[SampledAnswer]:
    """Answers that were there before the run: some of them where there are many."""
    whole = [SampledAnswer(each.ids, answer, truncated=False) for each in asked for answer in each.rewards]
    return random.Random(f"ceiling-{seed}").sample(whole, min(SEEN, len(whole)))

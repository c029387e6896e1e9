"""PPO with a penalty on KL, all roles on one frozen base (Schulman et al. 2017, arXiv:1707.06347).

A step samples answers, has them rewarded, and measures them under policy, reference and critic; then the
critic learns what they were worth, and the policy moves towards what was better than the critic expected.
TRL has no PPO; what is measured and guarded during a run is told to a transformers callback in the order in
which transformers' Trainer would tell it, so that the same eyes see every engine.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from policies.records import Frozen
from policies.training.engines import rollouts, savepoints
from policies.training.engines.actor import Actor
from policies.training.engines.collector import Collector
from policies.training.engines.critic import Critic
from policies.training.engines.engine import COMMON
from policies.training.engines.experience import experience
from policies.training.engines.penalty import Penalty
from policies.training.engines.rewarding import Rewarder
from policies.training.engines.roles import Roles
from policies.training.engines.rollouts import Collected
from policies.training.engines.schedule import factor
from policies.training.errors import JobError
from policies.training.model import checkpoints
from policies.training.model.rendering import Rendering
from policies.training.planning.resolved import ResolvedPpo
from policies.training.sampling.questions import Question

WEIGHTS, ACTOR, CRITIC = "weights.safetensors", "actor.safetensors", "critic.safetensors"
STATE = "ppo.json"
FIGURES = (
    *COMMON,
    "reward",
    "reward_sd",
    "reward_spread",
    "ceiling_share",
    "truncated_share",
    "kl_sequence",
    "kl_token",
    "kl_coefficient",
    "entropy",
    "answer_tokens",
    "refused",
    "unscored",
    "policy_loss",
    "policy_grad_norm",
    "approx_kl",
    "clip_share",
    "updates",
    "value_loss",
    "value_grad_norm",
    "value_clip_share",
    "explained",
)
"""What a step tells: points, nats, shares. Those of the policy's own learning begin after the critic's
warm-up; `explained` is the share of the returns' variance that the critic foresaw."""
PASSES = 64
"""More than a step makes: each has a key of its own."""


class Saved(Frozen):
    """What a run must know beside its weights."""

    step: int
    coefficient: float
    figures: dict[str, float]
    """The step's."""


@dataclass(frozen=True, slots=True)
class PpoEnd:
    """How a run ended. `done`: the policy's adapter on the model is trained. `stopped`: the callback asked
    for it. `halted`: a number was not finite. `figures` are the last step's.
    """

    state: Literal["done", "stopped", "halted"]
    steps: int
    resumed_from: int
    reason: str = ""
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What others put in. `extra_state` returns what each checkpoint keeps as `guards.json`. While answers
    are sampled `between(done, total)` is called; what it raises ends the run.
    """

    extra_state: Callable[[], str] = str
    between: Callable[[int, int], None] | None = None


class Ppo:
    """One run. `roles` has the policy's adapter, and `ref` where that goes on from a parent; where rewards
    come from a reward model its folds are on them, too.

    Checkpoints are in `out`.
    """

    def __init__(
        self,
        *,
        roles: Roles,
        rendering: Rendering,
        questions: Sequence[Question],
        rewarder: Rewarder,
        recipe: ResolvedPpo,
        out: Path,
        seed: int,
        callback: TrainerCallback,
        hooks: Hooks | None = None,
    ) -> None:
        distinct = list({question.ids: question for question in questions}.values())
        if not distinct:
            raise JobError("no prompts to sample answers to")
        self._recipe = recipe
        self._out = out
        self._seed = seed
        self._callback = callback
        hooks = hooks or Hooks()
        self._extra_state = hooks.extra_state
        self.roles = roles
        self.critic = Critic(roles, recipe, seed, rewarder.model)
        self.actor = Actor(roles, recipe)
        self.collector = Collector(
            roles, self.critic, rendering, distinct, rewarder, recipe, seed, hooks.between
        )
        self.penalty = Penalty(
            recipe.kl_coefficient, first=recipe.kl_coefficient, target=recipe.kl_target, gain=recipe.kl_gain
        )

    def train(self) -> PpoEnd:
        """Runs from the newest checkpoint that verifies to the recipe's last step. Raises JobError."""
        resumed, figures = self._resume()
        state = TrainerState(global_step=resumed, max_steps=self._recipe.steps)
        control = TrainerControl()
        self._tell("train_begin", state, control)
        while state.global_step < self._recipe.steps and not control.should_training_stop:
            step = state.global_step + 1
            figures = self.step(step)
            state.global_step = step
            bad = next((name for name, value in figures.items() if not math.isfinite(value)), None)
            due = step % self._recipe.checkpoint_steps == 0 or step == self._recipe.steps
            control.should_save = due and bad is None
            if bad is None:
                self._tell("step_end", state, control)
            self._tell("log", state, control, logs=dict(figures))
            if bad is not None:
                return PpoEnd("halted", step, resumed, f"step {step}: {bad} is {figures[bad]}", figures)
            if control.should_save:
                self._save(step, figures)
                self._tell("save", state, control)
        step = state.global_step
        if step < self._recipe.steps:
            return PpoEnd(
                "stopped", step, resumed, f"asked to stop at step {step} of {self._recipe.steps}", figures
            )
        return PpoEnd("done", step, resumed, figures=figures)

    def step(self, step: int) -> dict[str, float]:
        """Collects the rollouts of a step, counted from 1, and learns from them. Gives its figures."""
        return self.learn(self.collector.collect(step), step)

    def learn(self, collected: Collected, step: int) -> dict[str, float]:
        """One step's learning, from rollouts that may be of an older policy. Gives the step's figures.

        In the first steps only the critic learns. Where a number is not finite the weights stay as they were
        before it, and the figures hold it.
        """
        recipe, key = self._recipe, (self._seed * 1_000_003 + step) * PASSES
        mean = fmean(rollout.reward.value for rollout in collected.rollouts)
        if not math.isfinite(mean):
            return {"reward": mean, "loss": mean, "grad_norm": 0.0}
        learned = experience(collected.rollouts, recipe, self.penalty.coefficient, self.roles.device)
        seen = rollouts.figures(collected) | {"kl_coefficient": self.penalty.coefficient}
        seen |= self.critic.improve(learned, key)
        active = step - recipe.critic_warmup_steps
        part = 0.0
        if active > 0 and math.isfinite(seen["value_loss"] + seen["value_grad_norm"]):
            steps = recipe.steps - recipe.critic_warmup_steps
            part = factor(active - 1, warmup=min(recipe.warmup_steps, steps), steps=steps)
            seen |= self.actor.improve(learned, part, key)
            self.penalty = self.penalty.after(seen["kl_sequence"])
        return seen | {
            "loss": seen.get("policy_loss", 0.0) + seen["value_loss"],
            "grad_norm": math.hypot(seen.get("policy_grad_norm", 0.0), seen["value_grad_norm"]),
            "learning_rate": part * recipe.learning_rate,
        }

    def _tell(self, event: str, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Calls the callback as the Trainer calls it, but without arguments of a Trainer."""
        getattr(self._callback, f"on_{event}")(None, state, control, model=self.roles.model, **more)

    def _weights(self) -> dict[str, torch.nn.Parameter]:
        return self.actor.descent.weights | self.critic.descent.weights

    def _save(self, step: int, figures: dict[str, float]) -> None:
        """Leaves a sealed checkpoint."""
        directory = self._out / f"{checkpoints.PREFIX}{step}"
        directory.mkdir(parents=True, exist_ok=True)
        savepoints.keep(self._weights(), directory / WEIGHTS)
        savepoints.keep_optimiser(self.actor.descent.optimiser, directory / ACTOR)
        savepoints.keep_optimiser(self.critic.descent.optimiser, directory / CRITIC)
        saved = Saved(step=step, coefficient=self.penalty.coefficient, figures=figures)
        (directory / STATE).write_text(saved.model_dump_json() + "\n", encoding="utf-8")
        savepoints.finish(directory, self._extra_state())
        savepoints.prune(self._out)

    def _resume(self) -> tuple[int, dict[str, float]]:
        """Takes up the newest checkpoint that verifies. Gives its step and figures; 0 where there is none."""
        directory = checkpoints.newest(self._out)
        if directory is None:
            return 0, {}
        saved = Saved.model_validate_json((directory / STATE).read_bytes())
        savepoints.restore(self._weights(), directory / WEIGHTS)
        savepoints.restore_optimiser(self.actor.descent.optimiser, directory / ACTOR)
        savepoints.restore_optimiser(self.critic.descent.optimiser, directory / CRITIC)
        self.penalty = replace(self.penalty, coefficient=saved.coefficient)
        return saved.step, saved.figures

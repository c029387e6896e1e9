"""How a policy is trained: one recipe a method, told apart by `method`.

A recipe is what a user asks. `Recipe` is the union of those that an engine serves (`training.engines`), and
with it everything that holds one: the policy, jobs, plans. A further method is a class here and its name in
the union. All of them have `lora` and `checkpoint_steps`.

Rewards are points on the judges' scale of 0 to 10 throughout, KL is in nats. A coefficient of KL is therefore
in points per nat: the best policy under a coefficient c is the reference times exp(reward / c).
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from policies.configured import Configured, Count, misfit
from policies.quantities import (
    AutoBool,
    AutoEpochs,
    AutoInt,
    AutoRate,
    AutoShare,
    Batch,
    Share,
    Steps,
)

DpoTrainer = Literal["shared", "trl"]
Start = Literal["stable", "base"]
Reference = Literal["start", "stable", "base"]
SftTargets = Literal["best", "corrections", "both"]
KtoSource = Literal["thumbs", "scores", "both"]
Ceiling = Annotated[float, Field(ge=1, le=10)] | Literal["auto", "none"]
"""Points that no reward is above; `auto`: a quantile of the rewards that answers seen before have."""


class Lora(Configured):
    """The adapter's shape."""

    r: int = Field(default=16, ge=1, le=1024)
    alpha: int = Field(default=32, ge=1, le=65_536)
    dropout: float = Field(default=0.0, ge=0, le=0.9)
    target_modules: str | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"

    @model_validator(mode="after")
    def _names_modules(self) -> "Lora":
        try:
            re.compile(self.target_modules if isinstance(self.target_modules, str) else "")
        except re.error as error:
            raise misfit("target_modules", f"no pattern of names: {error}") from None
        return self


class _Steps(Configured):
    """The steps of a recipe on a fixed set of examples.

    What is `auto` follows from the size of base and data and from the memory there is; what is written is
    taken as it is.
    """

    start: Start = "stable"
    """What training goes on from: the adapter in force, or the base with a new adapter. Without an adapter in
    force both are the base."""
    lora: Lora = Lora()
    learning_rate: AutoRate = "auto"
    """The highest of the run: it rises in the warm-up and falls to nothing as a cosine."""
    epochs: AutoEpochs = "auto"
    batch_size: AutoInt = "auto"
    """Pairs or answers in memory at a time; times `gradient_accumulation` they are those of a step."""
    gradient_accumulation: AutoInt = "auto"
    max_length: int = Field(default=4096, ge=16, le=1 << 20)
    max_steps: Steps = -1
    gradient_checkpointing: AutoBool = "auto"
    """Less memory for activations, for a third more time."""
    checkpoint_steps: Count = 50
    warmup_ratio: AutoShare = "auto"
    """Share of the steps in which the learning rate rises."""


class DpoRecipe(_Steps):
    """DPO with an SFT anchor. Without the anchor a policy can get worse while its margins grow."""

    method: Literal["dpo"] = "dpo"
    reference: Reference = "start"
    """What the loss keeps the policy near, and KL is to: what training starts from, the adapter in force, or
    the base."""
    trainer: DpoTrainer = "shared"
    """`shared`: a pair's prompt is computed once for both answers, where the model can; `trl`: TRL's own
    computation, each answer behind its prompt.
    """
    beta: float = Field(default=0.1, ge=1e-4, le=100)
    sft_weight: float = Field(default=1.0, ge=0, le=1000)


class RewardRecipe(Configured):
    """A Bradley-Terry reward model: a LoRA adapter with a scalar head, on preferences."""

    method: Literal["reward"] = "reward"
    start: Literal["base"] = "base"
    reference: Literal["start"] = "start"
    """There is none: a reward model is no policy."""
    lora: Lora = Lora()
    folds: int = Field(default=1, ge=1, le=8)
    """Models in the ensemble. With two or more each leaves out another part of the prompts, and is measured
    on it."""
    centring: float = Field(default=0.01, ge=0, le=100)
    """Weight of the squared sum of a pair's scores (Eisenstein et al. 2023, arXiv:2312.09244): preferences
    leave the level of scores open, and without it they drift."""
    label_weight: float = Field(default=2.0, ge=0, le=1000)
    """Weight of a pair that people labelled, where one that a judge scored has 1; 0: none is learned from. A
    label that is right with probability p tells (2p - 1)**2 of what a certain one tells: .64 for a person
    (.9), .36 for a judge that is only just trusted (.8), which is 1.8 times as much."""
    margin: float = Field(default=0.0, ge=0, le=100)
    """Share of a label's log odds by which chosen must be ahead before the loss calls it right (Llama 2,
    arXiv:2307.09288, has margins by strength of preference). Soft labels say the strength already."""
    learning_rate: AutoRate = "auto"
    epochs: AutoEpochs = "auto"
    batch_size: Batch = 8
    gradient_accumulation: Batch = 1
    max_length: int = Field(default=4096, ge=16, le=1 << 20)
    max_steps: Steps = -1
    checkpoint_steps: Count = 50
    warmup_ratio: Share = 0.1


class PpoRecipe(Configured):
    """PPO (Schulman et al. 2017, arXiv:1707.06347) with a penalty on KL to the reference.

    A step samples `prompts` times `answers` answers and learns from them in `inner_epochs` passes. What is
    `auto` follows from the number of prompts and the size of the base.
    """

    method: Literal["ppo"] = "ppo"
    start: Start = "stable"
    """What training goes on from: the adapter in force, or the base with a new adapter. Without an adapter in
    force both are the base."""
    reference: Literal["start"] = "start"
    """KL in the reward is to what training starts from."""
    lora: Lora = Lora()
    steps: AutoInt = "auto"
    """The critic's warm-up among them."""
    prompts: AutoInt = "auto"
    answers: int = Field(default=4, ge=1, le=1024)
    """To each prompt: how far their rewards are apart is what tells of a policy that no longer varies."""
    max_new_tokens: AutoInt = "auto"
    """auto: as many as `policy.sampling` lets an answer have."""
    sampling_batch: Batch = 32
    """Answers that are sampled at a time."""
    inner_epochs: int = Field(default=2, ge=1, le=16)
    minibatch: Batch = 16
    """Answers of one optimiser step."""
    microbatch: Batch = 8
    """Answers in memory at a time; the gradient is that of the whole minibatch whatever it is."""
    learning_rate: AutoRate = "auto"
    """The policy's highest: it rises in the warm-up and falls as a cosine, and no step is made at 0."""
    warmup_steps: int = Field(default=5, ge=0, le=1_000_000)
    critic_learning_rate_factor: float = Field(default=10.0, ge=0.01, le=10_000)
    """Times the policy's; 10 to 100 is usual."""
    critic_warmup_steps: int = Field(default=3, ge=0, le=1_000_000)
    """First steps, in which only the critic learns: advantages of a blind critic are noise."""
    critic_epochs: int = Field(default=2, ge=1, le=16)
    max_grad_norm: float = Field(default=1.0, ge=0.001, le=1e6)
    clip: float = Field(default=0.2, ge=0.001, lt=1)
    """How far the importance ratio may be from 1 before it no longer pulls."""
    value_clip: float = Field(default=2.0, ge=0.001, le=1e6)
    """Points by which a value may leave the old one within a step before it no longer pulls."""
    entropy_coefficient: float = Field(default=0.0, ge=0, le=100)
    """Bonus per nat of entropy, beside advantages of variance 1. KL to the reference holds entropy, too."""
    approx_kl_limit: float = Field(default=0.05, ge=1e-5, le=100)
    """Nats per token between the policy that sampled and the one that learns: there a step's passes end."""
    gamma: float = Field(default=1.0, ge=0.5, le=1)
    lam: float = Field(default=1.0, ge=0, le=1)
    """GAE's lambda. With both at 1 an advantage is the return minus the value: right for short answers whose
    one score comes at the end."""
    kl_coefficient: float = Field(default=1.0, ge=1e-4, le=1e6)
    """Where it begins, in points per nat."""
    kl_target: float = Field(default=4.0, ge=0.001, le=1e6)
    """Nats per sequence that the coefficient steers to."""
    kl_gain: float = Field(default=0.5, ge=0, le=4)
    """How fast it steers; 0 leaves it where it is. Ziegler et al. have 0.1 for thousands of steps, a LoRA run
    has tens."""
    ceiling: Ceiling = "auto"
    ceiling_quantile: float = Field(default=0.9, ge=0.5, le=1)
    pessimism: float = Field(default=1.0, ge=0, le=100)
    """How many standard deviations over the reward model's folds are taken off their mean."""
    verdict_weight: Share = 0.5
    """Weight of a judge's stored verdict on the same prompt and answer, where there is one; the reward model
    has the rest."""
    truncation_penalty: float = Field(default=2.0, ge=0, le=10)
    """Points taken off an answer that was cut."""
    max_length: int = Field(default=4096, ge=16, le=1 << 20)
    """Tokens of the longest prompt with its answer; longer prompts are left out."""
    checkpoint_steps: Count = 5

    @model_validator(mode="after")
    def _consistent(self) -> "PpoRecipe":
        if self.lora.dropout:
            raise ValueError(
                "lora.dropout must be 0: with it the importance ratio of an unchanged policy is not 1"
            )
        if self.max_new_tokens != "auto" and self.max_new_tokens >= self.max_length:
            raise ValueError(
                f"max_new_tokens is {self.max_new_tokens} and max_length {self.max_length}: no room is left "
                "for a prompt"
            )
        if self.steps != "auto" and self.critic_warmup_steps >= self.steps:
            raise ValueError(
                f"critic_warmup_steps is {self.critic_warmup_steps} of {self.steps} steps: none is left for "
                "the policy"
            )
        return self


class SftRecipe(_Steps):
    """Supervised fine-tuning on good answers alone: the plain baseline that every other method must beat."""

    method: Literal["sft"] = "sft"
    reference: Literal["start"] = "start"
    """The loss has none; the guards measure KL to what training starts from."""
    targets: SftTargets = "best"
    """`best`: of the answers to a prompt the one of the highest reward, where preferences have one;
    `corrections`: what people wrote; `both`: these, and the best where nobody wrote any."""
    min_reward: float = Field(default=5.0, ge=0, le=10)
    """Points below which even the best of a prompt's answers is no target."""
    correction_weight: float = Field(default=1.0, ge=1e-4, le=1000)
    """Of what people wrote, where the best by reward have 1."""


class KtoRecipe(_Steps):
    """KTO (Ethayarajh et al. 2024, arXiv:2402.01306) on answers that were found good or bad one by one."""

    method: Literal["kto"] = "kto"
    reference: Reference = "start"
    """What the loss keeps the policy near, and KL is to: what training starts from, the adapter in force, or
    the base."""
    source: KtoSource = "thumbs"
    """`thumbs`: what users said, in the log or in events of its own (thumbs, ratings, behaviour; see
    `policies.worth`); `scores`: judges' scores; `both`: these, and scores where no user said anything."""
    feedback: tuple[str, ...] = Field(default=("thumb",), min_length=1)
    """Names of feedback that are thumbs, beside what is one by its kind."""
    thumb_up_from: float = Field(default=0.5, ge=-1e6, le=1e6)
    """A thumb with a score is up from here, else down: for 1 and 0 as for 1 and -1."""
    good_from: float = Field(default=7.0, ge=0, le=10)
    """Points from which a scored answer is good."""
    bad_to: float = Field(default=3.0, ge=0, le=10)
    """Points up to which it is bad; what lies between says nothing."""
    thumb_weight: float = Field(default=1.0, ge=0, le=1000)
    score_weight: float = Field(default=0.5, ge=0, le=1000)
    balance: bool = True
    """The rarer kind, good or bad, weighs as much as the other: thumbs are mostly complaints."""
    beta: float = Field(default=0.1, ge=1e-4, le=100)
    sft_weight: float = Field(default=1.0, ge=0, le=1000)
    """An anchor as in DPO: nats per token of the good answers, by their weights."""

    @model_validator(mode="after")
    def _consistent(self) -> "KtoRecipe":
        if self.bad_to >= self.good_from:
            raise misfit("bad_to", f"{self.bad_to:g} must be below good_from ({self.good_from:g})")
        if self.batch_size == 1:
            raise misfit("batch_size", "1 is too few: KL is estimated across the answers of a batch: write 2")
        if not self._weight:
            raise misfit(self._weightless, "0: nothing of policy.recipe.source would be learned from")
        return self

    @property
    def _weight(self) -> float:
        """The highest weight of what `source` names."""
        weights = {"thumbs": self.thumb_weight, "scores": self.score_weight}
        return weights.get(self.source, max(weights.values()))

    @property
    def _weightless(self) -> str:
        return "score_weight" if self.source == "scores" else "thumb_weight"


def _named(asked: Any) -> Any:
    """A recipe that names no method is DPO's."""
    return {"method": "dpo"} | asked if isinstance(asked, dict) else asked


Recipe = Annotated[
    DpoRecipe | RewardRecipe | PpoRecipe | SftRecipe | KtoRecipe,
    Field(discriminator="method"),
    BeforeValidator(_named),
]
"""What `policy.recipe` may be."""
RECIPES: TypeAdapter[Recipe] = TypeAdapter(Recipe)

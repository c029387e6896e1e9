"""How a policy is trained: one recipe a method, told apart by `method`.

A recipe is what a user asks. `Recipe` is the union of those that an engine serves (`training.engines`), and
with it everything that holds one: the policy, jobs, plans. A further method is a class here and its name in
the union. All of them have `lora` and `checkpoint_steps`.

Rewards are points on the judges' scale of 0 to 10 throughout, KL is in nats. A coefficient of KL is therefore
in points per nat: the best policy under a coefficient c is the reference times exp(reward / c).
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    model_validator,
)

from policies.quantities import AutoBool, AutoFloat, AutoInt, AutoShare, Share
from policies.records import Frozen

DpoTrainer = Literal["shared", "trl"]
Ceiling = Annotated[float, Field(gt=0, le=10)] | Literal["auto", "none"]
"""Points that no reward is above; `auto`: a quantile of the rewards that answers seen before have."""


class Lora(Frozen):
    """The adapter's shape."""

    r: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Share = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"


class DpoRecipe(Frozen):
    """DPO with an SFT anchor. Without the anchor a policy can get worse while its margins grow.

    What is `auto` follows from the size of base and data and from the memory there is; what is written is
    taken as it is.
    """

    method: Literal["dpo"] = "dpo"
    trainer: DpoTrainer = "shared"
    """`shared`: a pair's prompt is computed once for both answers, where the model can; `trl`: TRL's own
    computation, each answer behind its prompt.
    """
    lora: Lora = Lora()
    beta: PositiveFloat = 0.1
    sft_weight: float = Field(default=1.0, ge=0)
    learning_rate: AutoFloat = "auto"
    """The highest of the run: it rises in the warm-up and falls to nothing as a cosine."""
    epochs: AutoFloat = "auto"
    batch_size: AutoInt = "auto"
    """Pairs in memory at a time; times `gradient_accumulation` they are the pairs of a step."""
    gradient_accumulation: AutoInt = "auto"
    max_length: PositiveInt = 4096
    max_steps: int = -1
    gradient_checkpointing: AutoBool = "auto"
    """Less memory for activations, for a third more time."""
    checkpoint_steps: PositiveInt = 50
    warmup_ratio: AutoShare = "auto"
    """Share of the steps in which the learning rate rises."""


class RewardRecipe(Frozen):
    """A Bradley-Terry reward model: a LoRA adapter with a scalar head, on preferences."""

    method: Literal["reward"] = "reward"
    lora: Lora = Lora()
    folds: int = Field(default=1, ge=1, le=8)
    """Models in the ensemble. With two or more each leaves out another part of the prompts, and is measured
    on it."""
    centring: NonNegativeFloat = 0.01
    """Weight of the squared sum of a pair's scores (Eisenstein et al. 2023, arXiv:2312.09244): preferences
    leave the level of scores open, and without it they drift."""
    margin: NonNegativeFloat = 0.0
    """Share of a label's log odds by which chosen must be ahead before the loss calls it right (Llama 2,
    arXiv:2307.09288, has margins by strength of preference). Soft labels say the strength already."""
    learning_rate: PositiveFloat = 1e-4
    epochs: PositiveFloat = 1.0
    batch_size: PositiveInt = 8
    gradient_accumulation: PositiveInt = 1
    max_length: PositiveInt = 4096
    max_steps: int = -1
    checkpoint_steps: PositiveInt = 50
    warmup_ratio: Share = 0.1


class PpoRecipe(Frozen):
    """PPO (Schulman et al. 2017, arXiv:1707.06347) with a penalty on KL to the reference.

    A step samples `prompts` times `answers` answers and learns from them in `inner_epochs` passes.
    """

    method: Literal["ppo"] = "ppo"
    lora: Lora = Lora()
    steps: PositiveInt = 50
    prompts: PositiveInt = 16
    answers: PositiveInt = 4
    """To each prompt: how far their rewards are apart is what tells of a policy that no longer varies."""
    max_new_tokens: PositiveInt = 256
    sampling_batch: PositiveInt = 32
    """Answers that are sampled at a time."""
    inner_epochs: int = Field(default=2, ge=1, le=16)
    minibatch: PositiveInt = 16
    """Answers of one optimiser step."""
    microbatch: PositiveInt = 8
    """Answers in memory at a time; the gradient is that of the whole minibatch whatever it is."""
    learning_rate: PositiveFloat = 1e-4
    """The policy's highest: it rises in the warm-up and falls as a cosine, and no step is made at 0."""
    warmup_steps: NonNegativeInt = 5
    critic_learning_rate_factor: float = Field(default=10.0, gt=0)
    """Times the policy's; 10 to 100 is usual."""
    critic_warmup_steps: NonNegativeInt = 3
    """First steps, in which only the critic learns: advantages of a blind critic are noise."""
    critic_epochs: int = Field(default=2, ge=1, le=16)
    max_grad_norm: PositiveFloat = 1.0
    clip: float = Field(default=0.2, gt=0, lt=1)
    """How far the importance ratio may be from 1 before it no longer pulls."""
    value_clip: PositiveFloat = 2.0
    """Points by which a value may leave the old one within a step before it no longer pulls."""
    entropy_coefficient: NonNegativeFloat = 0.0
    """Bonus per nat of entropy, beside advantages of variance 1. KL to the reference holds entropy, too."""
    approx_kl_limit: PositiveFloat = 0.05
    """Nats per token between the policy that sampled and the one that learns: there a step's passes end."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    lam: float = Field(default=1.0, ge=0, le=1)
    """GAE's lambda. With both at 1 an advantage is the return minus the value: right for short answers whose
    one score comes at the end."""
    kl_coefficient: PositiveFloat = 1.0
    """Where it begins, in points per nat."""
    kl_target: PositiveFloat = 4.0
    """Nats per sequence that the coefficient steers to."""
    kl_gain: float = Field(default=0.5, ge=0, le=4)
    """How fast it steers; 0 leaves it where it is. Ziegler et al. have 0.1 for thousands of steps, a LoRA run
    has tens."""
    ceiling: Ceiling = "auto"
    ceiling_quantile: Share = 0.9
    pessimism: NonNegativeFloat = 1.0
    """How many standard deviations over the reward model's folds are taken off their mean."""
    verdict_weight: Share = 0.5
    """Weight of a judge's stored verdict on the same prompt and answer, where there is one; the reward model
    has the rest."""
    truncation_penalty: float = Field(default=2.0, ge=0, le=10)
    """Points taken off an answer that was cut."""
    max_length: PositiveInt = 4096
    """Tokens of the longest prompt with its answer; longer prompts are left out."""
    checkpoint_steps: PositiveInt = 5

    @model_validator(mode="after")
    def _consistent(self) -> "PpoRecipe":
        if self.lora.dropout:
            raise ValueError(
                "lora.dropout must be 0: with it the importance ratio of an unchanged policy is not 1"
            )
        if self.max_new_tokens >= self.max_length:
            raise ValueError(
                f"max_new_tokens is {self.max_new_tokens} and max_length {self.max_length}: no room is left "
                "for a prompt"
            )
        if self.critic_warmup_steps >= self.steps:
            raise ValueError(
                f"critic_warmup_steps is {self.critic_warmup_steps} of {self.steps} steps: none is left for "
                "the policy"
            )
        return self


def _named(asked: Any) -> Any:
    """A recipe that names no method is DPO's."""
    return {"method": "dpo"} | asked if isinstance(asked, dict) else asked


Recipe = Annotated[
    DpoRecipe | RewardRecipe | PpoRecipe, Field(discriminator="method"), BeforeValidator(_named)
]
"""What `policy.recipe` may be."""
RECIPES: TypeAdapter[Recipe] = TypeAdapter(Recipe)

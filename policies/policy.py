"""What a user governs: one model with the rules under which it may change.

A policy is the `policy:` section of rlaifd.yaml. Thresholds that decide what reaches production carry the
values that were vetted; `family` has no default, because a guessed family could let a model judge itself.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from policies.basemodel import Base
from policies.configured import BaseUrl, Configured, Count, Family, Temperature, misfit
from policies.quantities import AutoInt, Part, Share
from policies.recipes import RECIPES, DpoRecipe, Recipe
from policies.release import ReleaseRule
from policies.worth import FeedbackRule

Mode = Literal["enforce", "dry_run"]


def _commit(revision: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError(
            f"{revision} is no commit (40 hexadecimal digits): a branch or a tag moves, and its weights "
            "would change under the adapters"
        )
    return revision


class Splits(Configured):
    """Shares of the prompt clusters, by hash. They sum to one."""

    train: Share = 0.70
    calibrate: Share = 0.05
    audit: Share = 0.05
    gate: Share = 0.20

    @model_validator(mode="after")
    def _sum_to_one(self) -> "Splits":
        total = self.train + self.calibrate + self.audit + self.gate
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, calibrate, audit and gate sum to {total:g}, not 1")
        return self


class JudgingRule(Configured):
    """How much of the traffic is judged. Chosen by a hash of the event id, so runs agree and samples nest."""

    small_rate: Part = 1.0
    audit_rate: Part = 0.1
    samples: int = Field(default=3, ge=1, le=32)
    """Score samples averaged per judgement where the judge offers no token log-probabilities."""
    ceiling: float = Field(default=10.0, gt=0, le=10)
    """No reward is above it, whatever the judge said (0-10 scale)."""
    review_pairs: int = Field(default=4, ge=1, le=200)
    """Most answer pairs of one audit prompt that are put to people."""
    show_reasoning: bool = False
    """Whether judges see what the agent thought, apart from what it said. It makes them other judges."""


class ChildSampling(Configured):
    """Candidates sampled by a child process from the base model and the stable adapter."""

    type: Literal["child"] = "child"
    candidates: int = Field(default=3, ge=0, le=16)
    """Answers sampled per prompt beside the logged one."""
    temperature: Temperature = 1.0
    max_new_tokens: int = Field(default=256, ge=1, le=1 << 17)


class EndpointSampling(Configured):
    """Candidates sampled from an OpenAI-compatible endpoint that serves the policy."""

    type: Literal["openai"]
    base_url: BaseUrl
    model: str
    api_key_file: Path | None = None
    candidates: int = Field(default=3, ge=0, le=16)
    temperature: Temperature = 1.0
    max_new_tokens: int = Field(default=256, ge=1, le=1 << 17)


Sampling = Annotated[ChildSampling | EndpointSampling, Field(discriminator="type")]


class TopicMix(Configured):
    """Most of a snapshot that each topic may have. A trace's topic is what it says under a tag of the log."""

    tag: str = Field(min_length=1)
    most: float = Field(default=0.5, ge=0.001, le=1)
    """Most of a topic that `shares` does not name; traces without the tag are a topic, too ("")."""
    shares: dict[str, Share] = Field(default_factory=dict)
    """Most by topic; 0 leaves it out. Shares that together are less than the whole are scaled up to it."""


class CurationRule(Configured):
    """Which judged candidates become a preference."""

    min_margin: float = Field(default=2.0, gt=0, le=10)
    """Least difference of reward between chosen and rejected (0-10 scale)."""
    min_difference: float = Field(default=0.1, ge=0, le=0.95)
    """Least share of the text that differs: near-copies teach nothing."""
    max_source_pairs: Count = 10
    """Most pairs of a snapshot from one contributor (subject, else session), against poisoned logs."""
    max_source_share: Share = 0.0025
    """Most of a snapshot that comes from one contributor, where that is more than the next."""
    max_source_fair: float = Field(default=2.0, ge=0.01, le=1000)
    """The same in fair shares: a snapshot's pairs divided by its contributors."""
    max_alike: Count = 4
    """Most pairs of a snapshot that read nearly alike (prompt and both answers)."""
    max_age_days: Annotated[float, Field(ge=0.01, le=36_600)] | None = None
    """Pairs of older events are left out, but for replay; None: no age is too much."""
    mix: TopicMix | None = None
    """None: as the traffic has it."""
    replay_share: float = Field(default=0.1, ge=0, le=0.95)
    """Of a snapshot that cannot hold all pairs, at least so much is drawn of those that earlier runs learned
    from, against forgetting; as much may come of events older than `max_age_days`."""
    max_pairs: Count = 20_000
    """Most pairs of a snapshot, the newest: what a run takes of memory and time is bounded by it."""


class Guard(Configured):
    """A limit and whether passing it stops the run or is only reported."""

    limit: float = Field(ge=0, le=1e9)
    mode: Mode = "enforce"


FEWEST_PROMPTS = 8
"""Of a sounding: differences of fewer have no spread to speak of."""


class TrainingGuards(Configured):
    """Checked inside the training process, on freshly sampled answers every `every_steps` steps."""

    every_steps: AutoInt = "auto"
    samples: AutoInt = "auto"
    kl_nats: Guard = Guard(limit=20.0)
    """Most mean KL to the reference per sequence."""
    entropy_low_ratio: Guard = Guard(limit=0.3)
    """Least entropy per token as a share of the run's first measurement."""
    entropy_high_ratio: Guard = Guard(limit=3.0)
    chosen_logp_drop_nats: Guard = Guard(limit=15.0)
    """Most fall of the chosen answers' mean log-probability per sequence since the first steps."""
    divergence_steps: AutoInt = "auto"
    """Steps between two soundings of a policy that learns from a reward: the large judge scores its fresh
    answers to fixed train prompts."""
    divergence_prompts: int = Field(default=16, ge=0, le=1000)
    """Prompts of a sounding, each one score of the large judge, out of its budget; 0: none is made."""
    divergence: Guard = Guard(limit=0.0)
    """Most points by which, beyond chance, the judge's score may fall while the reward rises."""

    @model_validator(mode="after")
    def _can_be_kept(self) -> "TrainingGuards":
        if self.entropy_low_ratio.limit >= 1:
            raise misfit("entropy_low_ratio.limit", "must be below 1, or every run stops at its start")
        if self.entropy_high_ratio.limit <= 1:
            raise misfit("entropy_high_ratio.limit", "must be above 1, or every run stops at its start")
        for name in ("kl_nats", "chosen_logp_drop_nats"):
            if not getattr(self, name).limit:
                raise misfit(f"{name}.limit", "must be above 0, or every run that learns is stopped")
        if 0 < self.divergence_prompts < FEWEST_PROMPTS:
            raise misfit(
                "divergence_prompts",
                f"{self.divergence_prompts} are too few to tell a fall from chance: write {FEWEST_PROMPTS}, "
                "or more, or 0 for no soundings",
            )
        return self


class HaltRules(Configured):
    """Checked in the daemon on stored verdicts and labels."""

    min_alignment: Share = 0.80
    alignment_window: int = Field(default=200, ge=1, le=2000)
    """Newest labelled pairs that a judge is measured on; more than 2,000 labels are not looked at."""
    alignment_min_labels: int = Field(default=50, ge=1, le=2000)
    min_reward_sd: float = Field(default=0.1, ge=0, le=4)
    """Least standard deviation of the last `reward_window` rewards (0-10 scale)."""
    reward_window: int = Field(default=200, ge=10, le=10_000)


class GateRule(Configured):
    """What evidence lets an adapter through."""

    min_prompts: int = Field(default=40, ge=1, le=100_000)
    max_prompts: int = Field(default=200, ge=1, le=100_000)
    min_win_rate: Share = 0.5
    """The lower bound of the win rate must be above it."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    max_kl_nats: float = Field(default=10.0, ge=0.001, le=1e9)
    """Ceiling of mean KL to the stable policy, per sequence, on fresh samples."""
    min_entropy_ratio: Share = 0.5
    max_entropy_ratio: float = Field(default=2.0, gt=0, le=1e9)
    max_cut_excess: Share = 0.2
    """Most by which the share of the candidate's answers that were cut off may exceed the stable policy's."""
    min_alignment: Share = 0.80
    """The lower bound of each judge's alignment must be above it."""
    min_labels: int = Field(default=50, ge=1, le=2000)


class PolicySpec(Configured):
    """The named unit a user governs."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    family: Family
    """Model family of the policy. A judge of the same family is refused."""
    base_model: str
    """A local directory or a hub id."""
    revision: Annotated[str, AfterValidator(_commit)] | None = None
    """Commit of a hub model. A hub id without one is refused: its weights could change under the adapters."""
    served_as: str | None = None
    """The name under which the server knows the base model; an adapter's configuration carries it. None: the
    directory's path, or the hub id."""
    constitution: str = "helpful"
    rubric: str = "support"
    splits: Splits = Splits()
    judging: JudgingRule = JudgingRule()
    sampling: Sampling = ChildSampling()
    curation: CurationRule = CurationRule()
    feedback: FeedbackRule = FeedbackRule()
    recipe: Recipe = DpoRecipe()
    """Or a list: the first, and those of `also`."""
    also: tuple[Recipe, ...] = ()
    """Further recipes: a scheduled training follows each, and the gate decides on every adapter."""
    guards: TrainingGuards = TrainingGuards()
    halts: HaltRules = HaltRules()
    gate: GateRule = GateRule()
    release: ReleaseRule = ReleaseRule()

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, raw: Any) -> Any:
        """A list of recipes is the first one and the others."""
        listed = raw.get("recipe") if isinstance(raw, dict) else None
        if not isinstance(listed, list | tuple):
            return raw
        if not listed:
            raise misfit("recipe", "an empty list: name one recipe at least, or leave it out")
        return {**raw, "recipe": listed[0], "also": [*listed[1:], *raw.get("also", ())]}

    @model_validator(mode="after")
    def _each_once(self) -> "PolicySpec":
        methods = [each.method for each in self.recipes]
        twice = next((name for name in methods if methods.count(name) > 1), None)
        if twice is not None:
            raise misfit("recipe", f"method {twice} is listed twice")
        return self

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """All of them, in the order in which they are followed."""
        return (self.recipe, *self.also)

    def recipe_of(self, method: str) -> Recipe:
        """The recipe that has the method, else the method's defaults with the first recipe's adapter shape.

        Raises ValueError for a method that there is not.
        """
        for each in self.recipes:
            if each.method == method:
                return each
        asked = {"method": method, "lora": self.recipe.lora.model_dump()}
        return RECIPES.validate_python(asked)

    @property
    def base(self) -> Base:
        """The base model with its commit."""
        return Base(self.base_model, self.revision)

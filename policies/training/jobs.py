"""What the child process is asked, and what it answers. Free of torch: both sides import it.

A job runs in a directory of its own: `job.json` (this), `progress.jsonl`, `log.txt`, `result.json`, and for
training `checkpoints/` and `adapter/`. All paths are absolute.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter, model_validator

from policies.launch import Launch
from policies.policy import TrainingGuards
from policies.recipes import DpoRecipe, Recipe
from policies.records import Frozen, Message, Sampled
from policies.snapshot import Pair
from policies.training.layout import TrainState
from policies.training.planning.plan import TrainingPlan

Messages = tuple[Message, ...]
Tools = tuple[dict[str, Any], ...]
Device = Literal["auto", "cuda", "cpu"]
Bf16 = Literal["auto", "off"]
Turns = Literal["auto", "always", "never"]
"""Whether only one job at a time works on the device; auto: where that is a card."""


class _Job(Frozen):
    out: Path
    """The job's directory."""
    base_model: str
    """A local directory or a hub id."""
    revision: str | None = None
    seed: int = 0
    threads: PositiveInt = 1
    device: Device = "auto"
    bf16: Bf16 = "auto"
    turn: Path | None = None
    """The file that the job holds which has the device; None: it shares the device with any other."""
    turns: Turns = "auto"


class RewardFiles(Frozen):
    """A published reward model: its directory, and the SHA-256 of its manifest."""

    path: Path
    digest: str


class _Learning(_Job):
    parent: Path | None = None
    """The adapter directory to go on from; None: a new adapter on the base model."""
    reference: Annotated[Literal["start", "base"] | Path, Field(union_mode="left_to_right")] = "start"
    """What the loss compares with: what the run starts from, the base, or, for a run that starts from the
    base, the adapter in a directory."""
    snapshot: Path
    snapshot_id: str
    recipe: Recipe = DpoRecipe()
    guards: TrainingGuards = TrainingGuards()
    guard_max_new_tokens: PositiveInt = 128
    day: date | None = None
    """The date that chat templates may write into the system message; None: the day of the run."""
    reward: RewardFiles | None = None
    """The reward model that PPO learns from."""
    memory_gb: PositiveFloat | None = None
    """What the run may take of the device (10^9 bytes); None: what is there."""
    launch: Launch = Launch()
    """In how many processes the run is made."""

    @model_validator(mode="after")
    def _one_frozen_adapter(self) -> Self:
        if self.parent is not None and isinstance(self.reference, Path):
            raise ValueError("an adapter as the reference needs a run that starts from the base")
        return self

    @property
    def frozen(self) -> bool:
        """Whether an adapter is frozen beside the one that learns."""
        return self.parent is not None or isinstance(self.reference, Path)


class PlanJob(_Learning):
    """Say what a training would do. No weight is loaded and no lock is taken."""

    kind: Literal["plan"] = "plan"


class TrainJob(_Learning):
    """Train one adapter on a snapshot.

    One process at a time holds `lock`. What
    the recipe leaves open is decided before the first step, and kept as `plan.json` in the job's directory: a
    run that is taken up goes on by the same plan.
    """

    kind: Literal["train"] = "train"
    base_digest: str | None = None
    """What the base model was when the job was made: a run goes on only on the same one."""
    served_as: str | None = None
    """The name that the adapter's configuration gives its base model; None: where it was loaded from."""
    judged: bool = False
    """Whether somebody has a judge score what the policy answers on the way (`soundings`)."""
    lock: Path
    lock_wait_s: float = Field(default=5.0, ge=0)


class _Sampling(_Job):
    prompts: tuple[Messages, ...] | Path
    """The prompts, or a JSONL file with one list of messages a line."""
    tools: tuple[Tools, ...] = ()
    """Tool definitions for each prompt; empty: none for any."""
    temperature: PositiveFloat = 1.0
    max_new_tokens: PositiveInt = 256
    batch_size: PositiveInt = 32


class SampleJob(_Sampling):
    """Sample `count` answers to each prompt from the base model with an adapter (None: without)."""

    kind: Literal["sample"] = "sample"
    adapter: Path | None = None
    count: PositiveInt = 1


class CompareJob(_Sampling):
    """Answer each prompt with the stable and the candidate policy, and measure how far they are apart."""

    kind: Literal["compare"] = "compare"
    stable: Path | None = None
    candidate: Path


class InspectJob(_Job):
    """Try out the base model's tokenizer and chat template. No weights are loaded."""

    kind: Literal["inspect"] = "inspect"


class GradeJob(_Job):
    """Say by how many points a reward model puts each pair's chosen answer ahead of its rejected one."""

    kind: Literal["grade"] = "grade"
    reward: RewardFiles
    pairs: tuple[Pair, ...]
    day: date | None = None


AnyJob = PlanJob | TrainJob | SampleJob | CompareJob | InspectJob | GradeJob
Job = Annotated[AnyJob, Field(discriminator="kind")]


class AdapterFile(Frozen):
    """A file of the adapter as the child wrote it."""

    sha256: str
    size: NonNegativeInt


class GuardReading(Frozen):
    """What the guards saw at one step, on freshly sampled answers. KL and log-probability in nats."""

    step: NonNegativeInt
    kl_sequence: float
    kl_token: float
    entropy: float
    """Per token."""
    chosen_drift: float | None = None
    """Log-probability of the chosen answers minus the reference's, per sequence, mean over the last steps.
    None: the method has no chosen answers."""
    breaches: tuple[str, ...] = ()


class Divergence(Frozen):
    """How far a policy's reward and a judge's score of the same fresh answers moved since the run's start, in
    points, as means over `prompts` prompts: `reward_lower` is the least that the reward rose, `judge_upper`
    the most that the score changed (below 0: it fell at least so far), each beyond chance.

    `unknown`: why there is no verdict, and no figure either; "" where there is one.
    """

    step: NonNegativeInt
    prompts: NonNegativeInt = 0
    reward: float | None = None
    reward_lower: float | None = None
    judge: float | None = None
    judge_upper: float | None = None
    diverged: bool = False
    unknown: str = ""


class ProbeSequence(Frozen):
    """One answer of the probe: its tokens' log-probability, summed, in nats at temperature 1."""

    tokens: PositiveInt
    """How many tokens the sums are over."""
    parent: float
    """Of what training started from: the parent adapter, else the base model."""
    adapter: float


class Probe(Frozen):
    """A few answers of the snapshot under the trained adapter and under what it started from.

    It says whether training changed anything, and anybody who has the snapshot can hold a server to it.
    """

    tokens_sha256: str
    """Of the probe's token ids and of which of them are summed over."""
    kl_sequence: float
    """Mean over the sequences: KL of adapter against parent, over all tokens of one, in nats."""
    sequences: tuple[ProbeSequence, ...] = Field(min_length=1)
    rounding_kl: float = Field(default=0.0, ge=0)
    """KL per sequence that half precision makes by itself, out of nothing; 0 in float32."""
    rounding_largest: float = Field(default=0.0, ge=0)
    """The same for the largest difference of a sequence's log-probability."""

    @property
    def largest(self) -> float:
        """The largest difference of a sequence's log-probability, in nats."""
        return max(abs(each.adapter - each.parent) for each in self.sequences)


class TrainResult(Frozen):
    """How a training ended.

    `done`: `files` are the adapter's, in `<out>/adapter`, or the reward model's, by their paths in
    `<out>/reward`, and all tensors are finite; read again they are what was trained. `unchanged`: it went to
    its end and the policy is what it was: there is no adapter. `halted`: a guard stopped it. `stopped`: it
    was asked to stop and left a checkpoint. `failed`: it can say why.
    """

    kind: Literal["train"] = "train"
    state: TrainState
    reason: str = ""
    steps: NonNegativeInt = 0
    resumed_from: NonNegativeInt = 0
    examples: NonNegativeInt = 0
    """What was learned from: pairs, prompts or texts, as the method has it."""
    left_out: dict[str, NonNegativeInt] = Field(default_factory=dict)
    """What was not, by reason. Of pairs `identical`: both answers render to the same tokens; `too_long`: an
    answer with its prompt is longer than the recipe's max_length; `unfit`: the chat template refuses them."""
    trainable: NonNegativeInt = 0
    metrics: dict[str, float] = Field(default_factory=dict)
    """The last step's figures, under the names that the engine gives them, and the guards' last reading."""
    readings: tuple[GuardReading, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    """Reward against judge, at each look of a run that learns from a reward; one without figures says so."""
    plan: TrainingPlan | None = None
    """What was done, with every number of the recipe; None where the run ended before it was decided."""
    rate: float | None = None
    """Floating-point operations a second, by the plan's own count, of a run that was made in one go."""
    files: dict[str, AdapterFile] = Field(default_factory=dict)
    probe: Probe | None = None


class PlanResult(Frozen):
    """What a training would do. A plan that does not fit is `done`, and says so itself."""

    kind: Literal["plan"] = "plan"
    state: Literal["done", "failed", "stopped"]
    reason: str = ""
    plan: TrainingPlan | None = None


class SampleResult(Frozen):
    """`answers[p][s]` is sample `s` to prompt `p`. A prompt that could not be answered has none, and its
    reason is in `refused`, by its index: one prompt costs the others nothing.
    """

    kind: Literal["sample"] = "sample"
    state: Literal["done", "failed", "stopped"]
    reason: str = ""
    answers: tuple[tuple[Sampled, ...], ...] = ()
    refused: dict[int, str] = Field(default_factory=dict)
    tokens: NonNegativeInt = 0


class CompareResult(Frozen):
    """One answer of each policy to every prompt, in prompt order, and their distance. A prompt that could not
    be answered has no answers (None, None), and its reason is in `refused`, by its index.

    KL is candidate against stable on the candidate's fresh answers: the full-distribution KL of every token,
    summed over the sequence. Entropies are per token, each policy on its own answers. All in nats, at
    temperature 1.
    """

    kind: Literal["compare"] = "compare"
    state: Literal["done", "failed", "stopped"]
    reason: str = ""
    stable: tuple[Sampled | None, ...] = ()
    candidate: tuple[Sampled | None, ...] = ()
    refused: dict[int, str] = Field(default_factory=dict)
    kl_per_prompt: tuple[float, ...] = ()
    kl_sequence: float = 0.0
    kl_token: float = 0.0
    entropy_stable: float = 0.0
    entropy_candidate: float = 0.0
    tokens_stable: NonNegativeInt = 0
    tokens_candidate: NonNegativeInt = 0
    truncated_stable: NonNegativeInt = 0
    truncated_candidate: NonNegativeInt = 0


class InspectResult(Frozen):
    """What the family cannot do, in lines for a person. `failed`: it cannot be trained rightly, and why."""

    kind: Literal["inspect"] = "inspect"
    state: Literal["done", "failed", "stopped"]
    reason: str = ""
    notes: tuple[str, ...] = ()
    positions: NonNegativeInt | None = None
    """The most tokens of a sequence; None: the model does not say."""


class GradeResult(Frozen):
    """`leads` are in points, in the order of the pairs; None for one that cannot be graded, and why is in
    `refused`, by its index.
    """

    kind: Literal["grade"] = "grade"
    state: Literal["done", "failed", "stopped"]
    reason: str = ""
    leads: tuple[float | None, ...] = ()
    refused: dict[int, str] = Field(default_factory=dict)


AnyResult = PlanResult | TrainResult | SampleResult | CompareResult | InspectResult | GradeResult
Result = Annotated[AnyResult, Field(discriminator="kind")]

JOBS: TypeAdapter[AnyJob] = TypeAdapter(Job)
RESULTS: TypeAdapter[AnyResult] = TypeAdapter(Result)


Event = Literal[
    "started",
    "waiting",
    "planned",
    "ready",
    "reference",
    "resumed",
    "step",
    "guard",
    "sounded",
    "divergence",
    "checkpoint",
    "sampled",
    "done",
]


class Progress(Frozen):
    """One line of progress.jsonl. A step's metrics have the names that the engine gives them; one is loss."""

    event: Event
    elapsed_s: float = 0.0
    """Since the process began."""
    step: NonNegativeInt = 0
    steps: NonNegativeInt = 0
    metrics: dict[str, float] = Field(default_factory=dict)
    note: str = ""

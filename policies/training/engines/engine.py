"""What a training method is to the rest of the room: data made ready, a plan, a training, and named figures.

`run` takes a job through these four and knows no method by name; `registry` says which engine serves which.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from policies.policy import TrainingGuards
from policies.training.errors import StoppedError
from policies.training.jobs import AdapterFile, Divergence, GuardReading, PlanJob, Probe, TrainJob
from policies.training.layout import TrainState
from policies.training.model.lora import LoadedBase
from policies.training.model.probe import ProbeText
from policies.training.model.rendering import Rendering
from policies.training.planning.plan import Facts, TrainingPlan
from policies.training.planning.shape import Lengths
from policies.training.progress import Reporter

Item = TypeVar("Item")
COMMON = ("loss", "grad_norm", "learning_rate")
"""Figures of a step that every engine has. The guards ask that the first two are finite."""


@dataclass(frozen=True, slots=True)
class Lesson(Generic[Item]):
    """What a run learns from, as tokens. `items` are what the method takes: pairs, prompts or texts."""

    items: Sequence[Item]
    offered: int
    """How many there were before any was left out."""
    left_out: Mapping[str, int]
    """How many cannot be learned from, by reason."""
    told: str
    """What there is and what was left out, in one line."""
    lengths: Lengths
    prompts: Sequence[Sequence[int]]
    """What the guards may sample answers to."""
    probe: tuple[ProbeText, ...]
    """Answers on which the trained adapter is held against what it started from."""
    cut: int = 0
    """How many answers that are learned from were cut off by a limit of length."""
    notes: tuple[str, ...] = ()
    """What the base model's family cannot do."""


@dataclass(frozen=True, slots=True)
class Run(Generic[Item]):
    """One training on its way. The base is bare; `figures` and `remedy` are the engine's own."""

    job: TrainJob
    plan: TrainingPlan
    lesson: Lesson[Item]
    base: LoadedBase
    rendering: Rendering
    figures: tuple[str, ...]
    remedy: str
    reporter: Reporter
    stopping: Callable[[], bool]

    def check(self) -> None:
        """Raises StoppedError where the run was asked to stop. For the time before the first step."""
        if self.stopping():
            raise StoppedError("asked to stop before the first step")


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training ended (`jobs.TrainResult` says what the states mean).

    `seconds` is what the steps took, from the first to the last; 0 where nobody can learn a rate from it.
    """

    state: TrainState
    steps: int
    reason: str = ""
    resumed_from: int = 0
    trainable: int = 0
    seconds: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)
    """The last step's, and those of the whole."""
    readings: tuple[GuardReading, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    files: Mapping[str, AdapterFile] = field(default_factory=dict)
    probe: Probe | None = None


class Engine(Protocol[Item]):
    """One method. It has no state of its own: what a run needs is in `Run`."""

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of a step's figures, in the order in which they are reported, COMMON among them. What is
        logged under other names is not reported.
        """

    @property
    def remedy(self) -> str:
        """What to change where a training changed nothing, as advice: "raise …"."""

    def prepare(self, job: PlanJob | TrainJob, rendering: Rendering, positions: int | None) -> Lesson[Item]:
        """Reads the job's snapshot and makes it tokens. `positions`: the most that the model takes.

        Raises SnapshotError, and JobError where nothing is left to learn from.
        """

    def plan(self, recipe: Any, guards: TrainingGuards, facts: Facts) -> TrainingPlan:
        """What a run by the recipe, which is of the engine's method, will do. Where it does not fit the plan
        says so; nothing is raised.
        """

    def train(self, run: Run[Item]) -> Trained:
        """From the bare base to the adapter's files or a reason, from the newest checkpoint where there is
        one. Raises JobError where it cannot be done as asked, StoppedError where it was asked to stop before
        there was anything to leave, and lets torch.OutOfMemoryError through.
        """

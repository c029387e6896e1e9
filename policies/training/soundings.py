"""Soundings: answers of a policy under training, which a judge scores while it trains. Free of torch.

In the job's directory the child writes what the policy answers at a step to a fixed set of the snapshot's
prompts, with the reward that training sees of each; the daemon, which alone has a network, writes beside it
what the large judge gave. Each file is whole or not there, and none is written twice.
"""

from pathlib import Path

from pydantic import Field, NonNegativeInt

from policies import durable
from policies.records import Frozen, Sampled

FOLDER = "soundings"


class Sounded(Frozen):
    """One answer. `trace` is the number of the event whose prompt it answers, and `reward` is None where
    training has no view of it. Points of 0 to 10.
    """

    trace: int
    answer: Sampled
    reward: float | None = Field(default=None, allow_inf_nan=False)


class Sounding(Frozen):
    """What the policy answered at a step: the same prompts, with the same seed, all through a run."""

    step: NonNegativeInt
    answers: tuple[Sounded, ...]


class Heard(Frozen):
    """What the judge gave the answers of a step, by trace. Of those that are missing, `missing` has how
    many there are by why.
    """

    step: NonNegativeInt
    scores: dict[int, float] = Field(default_factory=dict)
    missing: dict[str, NonNegativeInt] = Field(default_factory=dict)


def write_sounding(job: Path, sounding: Sounding) -> None:
    """Writes what was answered, durably."""
    (job / FOLDER).mkdir(exist_ok=True)
    durable.write(_asked(job, sounding.step), sounding.model_dump_json().encode())


def write_heard(job: Path, heard: Heard) -> None:
    """Writes what the judge gave, durably."""
    durable.write(_heard(job, heard.step), heard.model_dump_json().encode())


def sounding_at(job: Path, step: int) -> Sounding | None:
    """What the policy answered at the step; None: nothing yet."""
    path = _asked(job, step)
    return Sounding.model_validate_json(path.read_bytes()) if path.exists() else None


def heard_at(job: Path, step: int) -> Heard | None:
    """What the judge gave at the step; None: nothing yet."""
    path = _heard(job, step)
    return Heard.model_validate_json(path.read_bytes()) if path.exists() else None


def _asked(job: Path, step: int) -> Path:
    return job / FOLDER / f"{step:06}.json"


def _heard(job: Path, step: int) -> Path:
    return job / FOLDER / f"{step:06}.heard.json"

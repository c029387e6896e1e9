"""What every run is given alike, and the job that a run was given."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from policies.judging.judges import NamedJudge
from policies.training.jobs import JOBS, Job


@dataclass(frozen=True, slots=True)
class RunInputs:
    """What every run is given alike. `judges`: who may score what a policy answers on the way."""

    seed: int = 0
    judges: tuple[NamedJudge, ...] = ()


def job_of(file: Path) -> Job | None:
    """The job in the file; None where there is none, or one that was cut off or is of another version."""
    try:
        return JOBS.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None

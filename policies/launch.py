"""In how many processes a training is made, and who starts them."""

from pathlib import Path

from pydantic import Field, model_validator

from policies.configured import Configured, misfit

DIVIDED = frozenset({"dpo", "sft", "kto"})
"""Methods whose steps several processes make together."""


class Launch(Configured):
    """One training in several processes, each on a card of its own: each learns from its share of a step's
    pairs, and all of them take the same step.
    """

    processes: int = Field(default=1, ge=1, le=64)
    """Above 1 torchrun starts them, on this machine."""
    config_file: Path | None = None
    """Accelerate's configuration: `accelerate launch` starts them instead, by what is written there."""

    @model_validator(mode="after")
    def _launches_something(self) -> "Launch":
        if self.config_file is not None and self.processes == 1:
            raise misfit(
                "config_file", "is read where there are several processes: set processes, or leave it away"
            )
        return self

    def refusal(self, method: str) -> str | None:
        """Why a training by the method cannot be launched so; None where it can."""
        if self.processes == 1 or method in DIVIDED:
            return None
        return f"{method} is made by one process: set training.launch.processes to 1"

"""Back-pressure: when reading pauses, and when it goes on. It never drops: what is not read stays in the log.

Each pressure has a mark at which reading pauses and a lower one at which it goes on, so that it does not
flicker at one of them. What a source holds in memory has its own marks, by records and bytes
(`max_in_flight_*`); these are for what piles up behind it.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field, model_validator

from policies.configured import Configured, misfit

MEGABYTE = 1_000_000


class Pressure(StrEnum):
    """Why reading pauses."""

    DISK = "disk"
    """The disk of the state directory is nearly full."""
    BACKLOG = "backlog"
    """Too much of what was read waits to be judged."""


class PressureRule(Configured):
    """The marks. A floor of 0 and a mark of None are none."""

    disk_floor_mb: float = Field(default=512.0, ge=0, le=1e9)
    """Least free on the disk of the state directory, in 10^6 bytes: below it reading pauses."""
    disk_resume_mb: float = Field(default=768.0, ge=0, le=1e9)
    """It goes on from here."""
    open_judgements_high: int | None = Field(default=None, ge=1, le=10**9)
    """Judgements that wait: from here reading pauses. Where a budget is used up they wait until midnight, and
    the log must be kept so long."""
    open_judgements_low: int = Field(default=0, ge=0, le=10**9)
    """It goes on at so many."""

    @model_validator(mode="after")
    def _apart(self) -> "PressureRule":
        if self.disk_resume_mb < self.disk_floor_mb:
            raise misfit(
                "disk_resume_mb", f"{self.disk_resume_mb:g} is below disk_floor_mb ({self.disk_floor_mb:g})"
            )
        high = self.open_judgements_high
        if high is not None and self.open_judgements_low >= high:
            raise misfit(
                "open_judgements_low",
                f"{self.open_judgements_low} must be below open_judgements_high ({high})",
            )
        return self


@dataclass(frozen=True, slots=True)
class Levels:
    """What is measured: bytes free on the disk, and judgements that wait."""

    free_bytes: float
    open_judgements: int


def pressing(levels: Levels, before: AbstractSet[Pressure], rule: PressureRule) -> frozenset[Pressure]:
    """What keeps reading paused, given what did before."""
    free = levels.free_bytes / MEGABYTE
    floor = rule.disk_resume_mb if Pressure.DISK in before else rule.disk_floor_mb
    found = {Pressure.DISK} if rule.disk_floor_mb and free < floor else set()
    high = rule.open_judgements_high
    if high is not None:
        bound = rule.open_judgements_low + 1 if Pressure.BACKLOG in before else high
        found |= {Pressure.BACKLOG} if levels.open_judgements >= bound else set()
    return frozenset(found)


def line(pressure: Pressure, levels: Levels, rule: PressureRule) -> str:
    """What a person is told, with what to do."""
    if pressure is Pressure.DISK:
        return (
            f"reading pauses: {levels.free_bytes / MEGABYTE:.0f} MB are free on the disk of state_dir, and "
            f"stages.pressure.disk_floor_mb is {rule.disk_floor_mb:g}: free some; it goes on at "
            f"{rule.disk_resume_mb:g} MB, and nothing is lost while the log keeps it"
        )
    return (
        f"reading pauses: {levels.open_judgements} judgements wait, and stages.pressure.open_judgements_high "
        f"is {rule.open_judgements_high}: it goes on at {rule.open_judgements_low}; raise a judge's "
        "concurrency or budget, or read less (sources[].keep)"
    )

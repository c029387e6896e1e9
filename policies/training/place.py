"""Which of a training's processes this is. Free of torch: it is asked before torch may be imported."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One process among all: torchrun's rank, and how many there are."""

    rank: int
    processes: int

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.processes == 1

    @property
    def leads(self) -> bool:
        """Whether this one speaks, writes and decides for all."""
        return self.rank == 0


def here() -> Place:
    """As the launcher says it; without one the process is alone."""
    return Place(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

"""What a source would have to pass over, because it was gone before it was read."""

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.base import Partition
from connectors.errors import FatalError


@dataclass(frozen=True, slots=True)
class Loss:
    """Offsets that the source no longer has: from `stood` on, where the store is, before `begins`."""

    partition: Partition
    stood: int
    begins: int

    @property
    def count(self) -> int:
        """How many offsets; there may be fewer records, where a log is compacted or transactional."""
        return self.begins - self.stood

    def __str__(self) -> str:
        where = f"{self.partition.topic}-{self.partition.partition}"
        return f"{self.count} of {where} ({self.stood} to {self.begins - 1})"


class OffsetsLostError(FatalError):
    """Reading on would pass over these. It goes on when the store has positions beyond them."""

    def __init__(self, place: str, losses: Sequence[Loss]) -> None:
        told = ", ".join(map(str, losses[:3])) + (f" and {len(losses) - 3} more" if len(losses) > 3 else "")
        super().__init__(f"{place}: offsets were removed before they were read: {told}")
        self.losses = tuple(losses)

"""How the pairs of a step are cut into batches that the memory there can hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from policies.quantities import Auto
from policies.training.planning import rules
from policies.training.planning.memory import Memory, Setting, estimate, fits
from policies.training.planning.shape import Lengths, Shape

PAIR = 2
"""Sequences of a pair."""
MOST_AT_ONCE = {"cpu": 4, "cuda": rules.LARGE_BATCH}
"""Pairs in memory at a time where a rule decides: on a processor more of them are not faster (batches of 32
were more than twice as slow as of 8) and take what its other work needs."""


class Batched(Protocol):
    """What a recipe says of its batches."""

    @property
    def batch_size(self) -> int | Auto:
        """How many are in memory at a time."""

    @property
    def gradient_accumulation(self) -> int | Auto:
        """Batches of a step."""

    @property
    def gradient_checkpointing(self) -> bool | Auto:
        """Whether activations are computed twice."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """The same recipe with other values."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A way to make a step: in each process `batch` pairs at a time, `accumulation` times. `refusal` says why
    none fits.
    """

    batch: int
    accumulation: int
    checkpointing: bool
    memory: Memory
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """What must fit where: the model, the pairs, and the bytes there (None: nobody knows).

    `unit` is what one of the pairs is called, and `least` how many of them a batch must hold. `uncut`:
    something is estimated across a batch, so that processes are given whole ones.
    """

    shape: Shape
    lengths: Lengths
    setting: Setting
    there: int | None
    unit: str = "pair"
    least: int = 1
    uncut: bool = False

    def memory(self, batch: int, *, checkpointing: bool, longest: int | None = None) -> Memory:
        """The peak with batches of that size; `longest` in the place of the longest sequence."""
        lengths = self.lengths if longest is None else self.lengths.model_copy(update={"longest": longest})
        return estimate(self.shape, lengths, self.setting, batch=batch, checkpointing=checkpointing)


def fitted(recipe: Batched, room: Room) -> Fit:
    """The largest batch that fits, first without checkpointing: smaller batches cost less than computing
    activations twice. What the recipe says itself is not changed; the pairs of a step are the same in every
    cut, unless the recipe fixes the accumulation alone.
    """
    fit = None
    for batch, accumulation, checkpointing in _cuts(recipe, room):
        memory = room.memory(batch, checkpointing=checkpointing)
        fit = Fit(batch, accumulation, checkpointing, memory)
        if fits(memory, room.there):
            return fit
    if fit is None:
        return _indivisible(recipe, room)
    return Fit(fit.batch, fit.accumulation, fit.checkpointing, fit.memory, _refusal(recipe, room, fit))


def halved(batch: int, accumulation: int) -> tuple[int, int]:
    """The largest batch up to half of this one that divides it, accumulated to the same size."""
    smaller = max(part for part in range(1, batch // 2 + 1) if batch % part == 0)
    return smaller, accumulation * (batch // smaller)


def _cuts(recipe: Batched, room: Room) -> Iterator[tuple[int, int, bool]]:
    """(batch, accumulation, checkpointing), the best first."""
    wanted = recipe.gradient_checkpointing
    for checkpointing in (False, True) if wanted == "auto" else (wanted,):
        for batch, accumulation in _sizes(recipe, room):
            yield batch, accumulation, checkpointing


def divided(batch: int, accumulation: int, processes: int) -> tuple[int, int] | None:
    """What each process makes of a step, in the largest batches up to this one. Where it is the accumulation
    that is divided all batches are those of one process. None: the shares would not be equal.
    """
    share, odd = divmod(batch * accumulation, processes)
    if odd:
        return None
    size = max(part for part in range(1, min(batch, share) + 1) if share % part == 0)
    return size, share // size


def _sizes(recipe: Batched, room: Room) -> Iterator[tuple[int, int]]:
    for batch, accumulation in _whole(recipe, room):
        each = divided(batch, accumulation, room.setting.processes)
        if each is not None and not (room.uncut and each[0] < batch):
            yield each


def _whole(recipe: Batched, room: Room) -> Iterator[tuple[int, int]]:
    """(batch, accumulation) of a step that one process makes alone."""
    batch, accumulation = recipe.batch_size, recipe.gradient_accumulation
    if batch != "auto":
        yield batch, 1 if accumulation == "auto" else accumulation
        return
    least = room.least
    step = max(least, rules.batch_of(room.lengths.pairs))
    if accumulation != "auto":
        yield from ((size, accumulation) for size in range(max(least, step // accumulation), least - 1, -1))
        return
    most = min(step, MOST_AT_ONCE[room.setting.kind] * PAIR // room.lengths.sequences)
    yield from ((size, step // size) for size in range(most, least - 1, -1) if step % size == 0)


def _indivisible(recipe: Batched, room: Room) -> Fit:
    batch, accumulation = next(_whole(recipe, room))
    wanted = recipe.gradient_checkpointing
    checkpointing = False if wanted == "auto" else wanted
    processes = room.setting.processes
    if divided(batch, accumulation, processes) is None:
        refusal = _odd(batch * accumulation, room)
    else:
        refusal = (
            f"a batch of {batch} {room.unit}s is not cut among {processes} processes, as KL is estimated "
            f"across it: set policy.recipe.gradient_accumulation to a multiple of {processes}"
        )
    memory = room.memory(batch, checkpointing=checkpointing)
    return Fit(batch, accumulation, checkpointing, memory, refusal)


def _odd(step: int, room: Room) -> str:
    return (
        f"a step of {step} {room.unit}s cannot be divided among {room.setting.processes} processes: set "
        "training.launch.processes to a divisor, or policy.recipe.batch_size to a multiple"
    )


def _refusal(recipe: Batched, room: Room, smallest: Fit) -> str:
    there = (room.there or 0) / 1e9
    one = smallest.batch == 1
    pairs = f"one {room.unit}" if one else f"a batch of {smallest.batch} {room.unit}s"
    return (
        f"{pairs} of {room.lengths.longest} tokens does not fit: {smallest.memory} where the "
        f"{room.setting.kind} has {there:.1f} GB, a tenth of which is left alone: {_remedy(recipe, room)}"
    )


def _remedy(recipe: Batched, room: Room) -> str:
    """The key to change."""
    free = recipe.model_copy(
        update={"batch_size": "auto", "gradient_accumulation": "auto", "gradient_checkpointing": "auto"}
    )
    if free != recipe and any(
        fits(room.memory(batch, checkpointing=checkpointing), room.there)
        for batch, _, checkpointing in _cuts(free, room)
    ):
        return "set policy.recipe.batch_size and gradient_checkpointing to auto"
    length = _longest_that_fits(room)
    if length >= room.lengths.prompt + room.lengths.answer:
        return f"set policy.recipe.max_length to {length} at most (longer {room.unit}s are then left out)"
    return "free memory, or choose a smaller policy.base_model (training.memory_gb overrides what is there)"


def _longest_that_fits(room: Room) -> int:
    """Tokens of the longest sequence of which the smallest batch fits; 0 where none does, however short."""
    low, high = 0, room.lengths.longest
    while high - low > 1:
        middle = (low + high) // 2
        fit = fits(room.memory(room.least, checkpointing=True, longest=middle), room.there)
        low, high = (middle, high) if fit else (low, middle)
    return low

"""How much memory a step needs, before it is made: a sum of parts, in bytes.

A CPU has no error for too little memory: the kernel kills the process. The formulas count the tensors that
autograd keeps and the largest that live for a moment, and are held against measured peaks (the room's README
has the table): within a sixth for a Llama of 135 M weights on a CPU. A card's are read, not measured.
"""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from policies.records import Frozen
from policies.training.planning.shape import Lengths, Shape

Kind = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]

BYTES = {"float32": 4, "bfloat16": 2}
ADAPTER_COPIES = 4
"""An adapter's weight, its gradient and AdamW's two moments; in float32 on every device."""
KEPT_HIDDEN, KEPT_FEED_FORWARD = 9, 4
"""What a decoder layer keeps of each token for the backward pass, in widths. Hidden: two residuals and two
norms, queries, attended values, keys and values as often as there are heads, and what the adapters make of
them. Feed-forward: gate, its activation, up, and their product. Saved-tensor hooks on a Llama count 8.5 and
4."""
RECAST = {"float32": 1.0, "bfloat16": 1.5}
"""Under bfloat16 the adapter's inputs and the norms are kept in both precisions."""
TILE_TOKENS, TILE_WORDS = 4096, 32768
"""TRL's fused head never holds all logits, but tiles of so many tokens by so many words of the vocabulary."""
TILE_COPIES = {"cpu": 9, "cuda": 2}
"""Float32 tensors of a tile's size in its backward pass: in torch operations, or in one Triton kernel."""
READ_AT_ONCE = 4
"""Answers that the guards sample at a time, for each pair of a batch: keys and values alone are small."""
READING_LOGITS = 256 << 20
"""Most bytes of one batch's logits when the guards compare two policies."""
READING_COPIES = 4
"""So many tensors of that size at once: both policies' log-probabilities, and what they are made from."""
PROCESS = {"cpu": 950_000_000, "cuda": 0}
"""The libraries themselves. A card's own share is gone from what it says is free."""
RESERVE = 0.1
"""Share of the memory there that is left alone: allocators cut it up, and others need some."""


class Memory(Frozen):
    """The parts of a run's peak, in bytes."""

    weights: NonNegativeInt
    """The base's."""
    adapter: NonNegativeInt
    """With gradients and the optimiser's moments, and the frozen copy where one is the reference."""
    activations: NonNegativeInt
    logits: NonNegativeInt
    readings: NonNegativeInt
    """What the guards need; never at the same time as activations and logits."""
    process: NonNegativeInt

    @property
    def fixed(self) -> int:
        """What a run needs however small its batches are."""
        return self.weights + self.adapter + self.process

    @property
    def total(self) -> int:
        """The peak."""
        return self.fixed + max(self.activations + self.logits, self.readings)

    def __str__(self) -> str:
        parts = {name: getattr(self, name) / 1e9 for name in type(self).model_fields}
        named = ", ".join(f"{name} {size:.1f}" for name, size in parts.items() if size >= 0.05)
        return f"{self.total / 1e9:.1f} GB ({named or 'all parts below 0.05'})"


class Setting(Frozen):
    """Where a run takes place, and what it samples on the way."""

    kind: Kind
    precision: Precision
    continued: bool = False
    """It goes on from an adapter, whose frozen copy is the reference."""
    samples: NonNegativeInt
    """Answers of one reading of the guards."""
    max_new_tokens: NonNegativeInt
    processes: PositiveInt = 1
    """They share the pairs of a step; each holds all of the model."""


def estimate(shape: Shape, lengths: Lengths, setting: Setting, *, batch: int, checkpointing: bool) -> Memory:
    """The peak of a run whose largest batch holds `batch` pairs or answers as long as the longest."""
    value = BYTES[setting.precision]
    sequences = lengths.sequences * batch
    tokens = sequences * lengths.longest
    layer = KEPT_HIDDEN * shape.hidden + KEPT_FEED_FORWARD * shape.feed_forward
    kept = shape.layers * shape.hidden + layer if checkpointing else shape.layers * layer
    mask = sequences * lengths.longest**2 * (1 + value)
    tile = min(tokens, TILE_TOKENS) * min(shape.vocabulary, TILE_WORDS) * BYTES["float32"]
    return Memory(
        weights=shape.parameters * value,
        adapter=shape.trainable * BYTES["float32"] * (ADAPTER_COPIES + setting.continued),
        activations=round(tokens * kept * value * RECAST[setting.precision]) + mask,
        logits=tile * TILE_COPIES[setting.kind],
        readings=_reading(shape, lengths, setting, at_once=batch * READ_AT_ONCE),
        process=PROCESS[setting.kind],
    )


def _reading(shape: Shape, lengths: Lengths, setting: Setting, *, at_once: int) -> int:
    """Keys and values of answers sampled together, one layer's tensors, and one batch's logits."""
    tokens = min(setting.samples, at_once) * (lengths.longest + setting.max_new_tokens)
    values = 2 * shape.layers * shape.key_value + KEPT_FEED_FORWARD * shape.feed_forward
    cache = tokens * values * BYTES[setting.precision]
    one = (setting.max_new_tokens + 1) * shape.vocabulary * BYTES["float32"]
    return cache + READING_COPIES * min(setting.samples * one, max(READING_LOGITS, one))


def fits(memory: Memory, there: int | None) -> bool:
    """Whether the run fits into the memory there (bytes). Where nobody knows how much there is, it does."""
    return there is None or memory.total <= there * (1 - RESERVE)

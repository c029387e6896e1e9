"""What a run computes, in floating-point operations, and how long that takes at a measured rate.

A token's way through the model costs two operations for each weight it meets, and so does the way back: the
base is frozen, and only the gradients of activations are needed. TRL's fused head is computed twice.
"""

from policies.training.planning.shape import Lengths, Shape

DECODING = 2.0
"""A token that is sampled alone costs more than one that is read in a row."""


def forward(shape: Shape, tokens: float) -> float:
    """Operations of one pass over the tokens."""
    return 2.0 * shape.active * tokens


def steps(
    shape: Shape, lengths: Lengths, *, passes: float, reference_passes: float, checkpointing: bool
) -> float:
    """Operations of all steps: `passes` over the pairs in training, `reference_passes` by the reference."""
    head = 2.0 * shape.hidden * shape.vocabulary * lengths.tokens
    there_and_back = 3 if checkpointing else 2
    trained = there_and_back * forward(shape, lengths.tokens) + head
    return passes * trained + reference_passes * forward(shape, lengths.tokens)


def reading(shape: Shape, lengths: Lengths, *, samples: int, max_new_tokens: int) -> float:
    """Operations of one reading of the guards: answers sampled, and read by both policies."""
    answer = min(max_new_tokens, lengths.answer)
    return forward(shape, samples * (3 * lengths.prompt + (2 + DECODING) * answer))

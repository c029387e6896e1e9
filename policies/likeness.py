"""Which texts read nearly alike: a few numbers of each, of which near-copies share one.

MinHash (Broder 1997) over runs of `RUN` words. A sketch has `BANDS` numbers, each a digest of `ROWS` minima:
two texts with a share s of runs in common (their Jaccard index) have a number in common with the probability
1 - (1 - s**ROWS)**BANDS, which is 99 % at s = 0.95, 80 % at 0.9, 20 % at 0.8 and 0.01 % at 0.5. Equality of a
number is all that is asked for, so that finding near-copies among n texts is linear in n.

Strangers write the texts: the cost is linear in their length, and bounded.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from policies.clusters import normal

if TYPE_CHECKING:
    from datasketch import MinHash

BANDS = 8
ROWS = 16
RUN = 3
"""Words in a row that are compared as one. Of a text with fewer all words are one run."""
MOST_WORDS = 16_384
"""Words of a text that count, the last ones: the newest turn and the answers stand at the end."""
AT_ONCE = 2048
"""Runs that are hashed at a time: it bounds the memory."""

Sketch = tuple[str, ...]


def sketch_of(parts: Sequence[str]) -> Sketch:
    """`BANDS` numbers, in hexadecimal, of the parts one after the other. No word at all gives none.

    Case, spacing, punctuation and repetitions do not count. The same parts give the same numbers everywhere.
    """
    words = " ".join(normal(part) for part in parts).split()[-MOST_WORDS:]
    runs = sorted({" ".join(words[at : at + RUN]) for at in range(max(1, len(words) - RUN + 1))} - {""})
    if not runs:
        return ()
    minima = _empty().copy()
    for start in range(0, len(runs), AT_ONCE):
        minima.update_batch([run.encode() for run in runs[start : start + AT_ONCE]])
    values = minima.hashvalues.astype("<u8")
    return tuple(
        hashlib.blake2b(bytes([band]) + values[band * ROWS : (band + 1) * ROWS].tobytes(), digest_size=8)
        .hexdigest()
        for band in range(BANDS)
    )  # fmt: skip


@cache
def _empty() -> "MinHash":
    """No text's minima. Its permutations are drawn once, which takes longer than a short text does."""
    from datasketch import MinHash

    return MinHash(num_perm=BANDS * ROWS, seed=1, scheme="affine32")

"""What the reference says is computed once for the same base, adapter and tokens."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from tests.policies.training.engines.conftest import row_of

pytestmark = [pytest.mark.training]


class Scorer:
    """Says the number of tokens, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, rows: Sequence[dict[str, Any]]) -> tuple[list[float], list[float]]:
        self.asked.append([row["shared_length"] for row in rows])
        return [-float(len(row["chosen_ids"])) for row in rows], [
            -float(len(row["rejected_ids"])) for row in rows
        ]


def filled(references: Any, rows: Sequence[dict[str, Any]], score: Scorer) -> list[Any]:
    found: list[Any] = references.fill(
        rows, length="shared_length", batch=2, score=score, between=lambda _done, _total: None
    )
    return found


def test_the_same_tokens_are_asked_once_and_in_batches_of_like_length() -> None:
    """A pair met twice, with whatever weight, is one question; every row gets its own answers."""
    from policies.training.engines.reference import References

    rng = random.Random(0)
    rows = [row_of(rng, sizes) for sizes in ((30, 4, 5), (3, 2, 1), (20, 6, 7))]
    twice = rows[1] | {"weight": 3.0}
    references, score = References("base@None None"), Scorer()
    found = filled(references, [*rows, twice], score)
    assert score.asked == [[6, 33], [39]]
    assert [(row["ref_chosen_logps"], row["ref_rejected_logps"]) for row in found] == [
        (-4, -5), (-2, -1), (-6, -7), (-2, -1),
    ]  # fmt: skip
    assert found[3]["weight"] == 3.0
    more = row_of(rng, (9, 1, 1))
    filled(references, [*rows, more], score)
    assert score.asked[2:] == [[11]], "what is known is not asked again"


def test_another_mask_or_another_reference_is_another_question() -> None:
    """Which tokens count is part of what was asked, and so is who answers."""
    from policies.training.engines.reference import References

    row = row_of(random.Random(0), (5, 3, 3))
    masked = row | {"rejected_mask": [1, 0, 1]}
    score = Scorer()
    filled(References("one"), [row, masked], score)
    filled(References("two"), [row], score)
    assert score.asked == [[11, 11], [11]]

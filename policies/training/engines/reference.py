"""The reference's log-probabilities, computed once for a run."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

TOKENS = ("prompt_ids", "chosen_ids", "chosen_mask", "rejected_ids", "rejected_mask")

Row = dict[str, Any]
Answers = tuple[list[float], list[float]]
"""Log-probabilities of chosen and rejected answers, summed over their tokens, one of each a row."""


@dataclass(frozen=True, slots=True)
class References:
    """What a reference says of pairs, kept by base, reference adapter and tokens. `identity` names the first
    two.
    """

    identity: str
    _known: dict[str, tuple[float, float]] = field(default_factory=dict)

    def fill(
        self,
        rows: Sequence[Row],
        *,
        length: str,
        batch: int,
        score: Callable[[Sequence[Row]], Answers],
        between: Callable[[int, int], None],
    ) -> list[Row]:
        """The rows with `ref_chosen_logps` and `ref_rejected_logps`.

        What is not known yet is scored once, in batches of like length, in an order that depends on the rows
        alone; `between(done, total)` is called before every batch.
        """
        keys = [self._key(row) for row in rows]
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._known}
        order = sorted(missing, key=lambda key: missing[key][length])
        for start in range(0, len(order), batch):
            between(start, len(order))
            part = order[start : start + batch]
            chosen, rejected = score([missing[key] for key in part])
            self._known.update(zip(part, zip(chosen, rejected, strict=True), strict=True))
        return [
            row | {"ref_chosen_logps": self._known[key][0], "ref_rejected_logps": self._known[key][1]}
            for key, row in zip(keys, rows, strict=True)
        ]

    def _key(self, row: Row) -> str:
        tokens = json.dumps([self.identity, *(row[name] for name in TOKENS)])
        return hashlib.sha256(tokens.encode()).hexdigest()

"""A pair as one row: where its tokens stand, what they see, and which outputs are asked for."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.policies.training.engines.conftest import row_of, scorer, spelled_out

pytestmark = [pytest.mark.training]

ROW = {
    "prompt_ids": [1, 2, 3],
    "chosen_ids": [4, 5],
    "chosen_mask": [1, 1],
    "rejected_ids": [6, 7, 8],
    "rejected_mask": [1, 0, 1],
    "weight": 1.0,
    "soft": 1.0,
    "length": 6,
    "shared_length": 8,
}


def test_both_answers_go_on_where_the_prompt_ends() -> None:
    """Positions restart for the rejected answer; the first tokens of both are asked of the prompt's end."""
    from policies.training.engines.batches import IGNORED
    from policies.training.engines.prefix import PrefixCollator

    short = ROW | {"prompt_ids": [9], "rejected_ids": [6], "rejected_mask": [1], "shared_length": 4}
    batch = PrefixCollator(pad=0)([ROW, short])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7, 8], [9, 4, 5, 6, 0, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 3, 4, 5], [0, 1, 2, 1, 0, 0, 0, 0]]
    assert batch["asked"].tolist() == [[2, 3, 0], [0, 1, 0], [2, 5, 6], [0, 0, 0]]
    no = IGNORED
    assert batch["targets"].tolist() == [[4, 5, no], [4, 5, no], [6, no, 8], [6, no, no]]


def test_the_rejected_answer_does_not_see_the_chosen_one() -> None:
    """Every token sees the prompt up to itself and its own answer; a window counts positions, not columns."""
    import torch

    from policies.training.engines.prefix import PrefixCollator, seen

    batch = PrefixCollator(pad=0)([ROW])

    def told(window: int | None) -> list[str]:
        return ["".join("x" if cell else "." for cell in line) for line in seen(batch, window)[0]]

    prompt = ["x.......", "xx......", "xxx....."]
    assert told(None) == [*prompt, "xxxx....", "xxxxx...", "xxx..x..", "xxx..xx.", "xxx..xxx"]
    near = ["x.......", "xx......", ".xx....."]
    assert told(2) == [*near, "..xx....", "...xx...", "..x..x..", ".....xx.", "......xx"]
    assert torch.equal(seen(batch, 100), seen(batch, None))


def test_other_chosen_tokens_leave_the_rejected_answer_bit_for_bit(family: Callable[..., Any]) -> None:
    """And the other way round: nothing of one answer reaches the other."""
    from policies.training.engines.prefix import attention_of
    from policies.training.engines.scoring import SharedPrompts

    rng = random.Random(1)
    model, row = family("llama"), row_of(rng, (30, 9, 8))
    attention = attention_of(model)
    assert not isinstance(attention, str)
    shared, score = SharedPrompts(0, attention, model.base_model), scorer(model)

    def answers(row: dict[str, Any]) -> tuple[list[float], list[float]]:
        chosen, rejected = score(shared, shared.collate([row])).log_probs.tolist()
        return chosen, rejected

    chosen, rejected = answers(row)
    other = answers(row | {"chosen_ids": row_of(rng, (1, 9, 1))["chosen_ids"]})
    assert other[1] == rejected
    assert other[0] != chosen
    other = answers(row | {"rejected_ids": row_of(rng, (1, 1, 8))["rejected_ids"]})
    assert other[0] == chosen
    assert other[1] != rejected


def test_an_answer_without_a_prompt_is_scored_from_its_second_token(family: Callable[..., Any]) -> None:
    """Nothing says its first, in a row of its own as in a shared one."""
    from policies.training.engines.prefix import attention_of
    from policies.training.engines.scoring import SharedPrompts, WholeRows

    rng = random.Random(2)
    model, rows = family("llama"), [row_of(rng, (0, 6, 4)), row_of(rng, (7, 2, 3))]
    attention = attention_of(model)
    assert not isinstance(attention, str)
    score = scorer(model)
    for scoring in (SharedPrompts(0, attention, model.base_model), WholeRows(0)):
        found = score(scoring, scoring.collate(rows))
        assert found.counted.sum(dim=1).tolist() == [4, 2, 3, 3]
        expected = [spelled_out(model, row, side) for side in ("chosen", "rejected") for row in rows]
        assert found.log_probs.sum(dim=1).tolist() == pytest.approx(expected, abs=1e-4)


def test_a_configuration_that_names_no_way_is_not_shared(family: Callable[..., Any]) -> None:
    """Attention without masks, and layers that look back in a way of their own, are told before any pass."""
    from policies.training.engines.prefix import Attention, attention_of

    model = family("mistral")
    found = attention_of(model)
    assert isinstance(found, Attention)
    assert (found.kinds, found.window) == (("sliding_attention",), 64)
    model.config._attn_implementation = "flash_attention_2"
    assert attention_of(model) == "attention of kind flash_attention_2 takes no mask of its own"
    assert attention_of(family("lfm2")) == "layers of kind conv see a row in a way of their own"

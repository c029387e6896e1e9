"""Who is served and who is held out, and what the programme makes of what a command says."""

from typing import Any

import pytest

from tests.learning.commands import LearnError
from tests.learning.run import drawn, released
from tests.learning.settings import SIZES

HELD: dict[str, Any] = {
    "name": "shop-agent-reward-1",
    "state": "hold",
    "labels": 61,
    "reasons": ["undecided"],
}


def test_the_held_out_are_the_same_whatever_the_method() -> None:
    """So the base's answers to them are made once a seed. Nobody is both held out and logged."""
    found = {method: drawn(3, sizes) for method, sizes in SIZES.items()}
    assert len({held_out for _, held_out in found.values()}) == 1
    for method, (logged, held_out) in found.items():
        assert (len(logged), len(held_out)) == (SIZES[method].logs, SIZES[method].held_out)
        assert not {each.order for each in logged} & {each.order for each in held_out}


def test_only_a_reward_model_that_labels_released_teaches() -> None:
    """The newest counts; one that is held ends the programme with the reasons."""
    new = HELD | {"name": "shop-agent-reward-2", "state": "release", "labels": 240}
    assert released([new, HELD]) == "shop-agent-reward-2 release by 240 labels"
    with pytest.raises(LearnError, match="shop-agent-reward-1 hold by 61 labels: undecided"):
        released([HELD, new])

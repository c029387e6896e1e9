"""What the engines' tests share: pairs that can be told apart, and a base of their own."""

from pathlib import Path
from typing import Any

import pytest

from policies.snapshot import Pair
from tests.policies.training.conftest import NOUNS, pair

POLITE = ("thank you", "of course", "yes", "right away")
CURT = ("no", "go away", "now", "no go away now")


def separable(number: int) -> Pair:
    """A pair whose better answer is the polite one, in one of sixteen wordings; who is longer varies."""
    noun = NOUNS[number % len(NOUNS)]
    good, bad = POLITE[number % 4], CURT[number // 4 % 4]
    tail = f" your {noun}" if number % 3 else ""
    return pair(number, chosen=f"{good}{tail}", rejected=f"{bad} your {noun} today")


@pytest.fixture
def own_base(tiny_model: Path) -> Any:
    """The tiny model, loaded for one test alone."""
    from policies.training.model import lora

    return lora.load(str(tiny_model), None, "cpu")

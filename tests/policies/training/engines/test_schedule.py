"""The learning rate's course."""

import pytest

from policies.training.engines.schedule import factor


def test_it_rises_from_its_first_part_and_falls_to_its_last() -> None:
    """Three steps up, then down in a line over the other four."""
    found = [factor(step, warmup=3, steps=7) for step in range(1, 8)]
    assert found == pytest.approx([1 / 3, 2 / 3, 1, 1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (1, 1), (0, 5), (5, 5), (9, 5), (1, 100)])
def test_no_step_is_at_zero_and_none_above_one(warmup: int, steps: int) -> None:
    """Whatever the warm-up, every step learns."""
    found = [factor(step, warmup=warmup, steps=steps) for step in range(1, steps + 1)]
    assert all(0 < part <= 1 for part in found)

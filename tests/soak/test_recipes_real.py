"""The default recipe teaches the real model from the fewest pairs there are."""

from pathlib import Path

import pytest

from policies.policy import TrainingGuards
from tests.learning.judge import signs
from tests.soak.bounds import within
from tests.soak.lessons import MARGIN, pairs
from tests.soak.recipes_real import KL, listen, train

TOKENS = 16


@pytest.mark.realmodel
@pytest.mark.training
@pytest.mark.timeout(1200)
def test_sixteen_pairs_move_the_policy_and_not_too_far(real_model: Path, tmp_path: Path) -> None:
    """Trained whole with nothing configured: fresh answers differ from the base's, below the ceiling."""
    heard = listen(real_model, tmp_path, count=24, max_new_tokens=TOKENS)
    lessons = pairs(16, heard, system="Be brief.")
    for lesson in lessons:
        good, bad = (
            signs(lesson.prompt[-1].content, side[0].content) for side in (lesson.chosen, lesson.rejected)
        )
        assert good - bad >= MARGIN
    seldom = TrainingGuards(every_steps=1000)
    found = train(real_model, lessons, tmp_path, max_new_tokens=TOKENS, guards=seldom)
    assert found.result.state == "done", found.result.reason
    assert found.result.examples == 16
    assert found.result.left_out == {"identical": 0, "too_long": 0, "unfit": 0}
    within({"kl_nats": found.kl_nats}, {"kl_nats": KL})
    assert 0 < found.peak_mb < 8000

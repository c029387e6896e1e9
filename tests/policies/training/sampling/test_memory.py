"""Too little memory is no prompt's fault: batches become smaller, and the answers are the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from policies.training.errors import JobError
from tests.policies.training.conftest import pair, sampled

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

PROMPTS = [pair(number).prompt for number in range(8)]


@contextmanager
def room_for(model: Any, most: int, *, tokens: int = 10**6) -> Iterator[list[int]]:
    """The model with memory for so many rows at once, and for so long ones. Yields the rows of each call."""
    import torch

    tried: list[int] = []

    def look(_module: Any, _arguments: Any, given: dict[str, Any]) -> None:
        rows = len(given["input_ids"])
        tried.append(rows)
        if rows > most or given["attention_mask"].shape[1] > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield tried
    finally:
        handle.remove()


def test_batches_that_do_not_fit_are_halved_for_good(base: Any, rendering: Any) -> None:
    """Of 24 answers 16 are tried once, 8 once, and all then come in batches of 4, as they would have come."""
    wanted = sampled(base.model, rendering, PROMPTS, count=3, max_new_tokens=6)
    with room_for(base.model, 4) as tried:
        found = sampled(base.model, rendering, PROMPTS, count=3, max_new_tokens=6, batch_size=16)
    assert found == wanted
    assert [rows for rows in tried if rows > 4] == [16, 8]


def test_a_prompt_that_fits_not_even_alone_is_refused_where_others_fit(base: Any, rendering: Any) -> None:
    """It is tried a second time after the others, and its reason says its length."""
    from policies.training.sampling.questions import Refused

    prompts = [*PROMPTS, (PROMPTS[0][0].model_copy(
        update={"content": "please help me with my order " * 8}),)]  # fmt: skip
    wanted = sampled(base.model, rendering, PROMPTS, max_new_tokens=6)
    longest = max(len(row[0].prompt) for row in wanted)
    with room_for(base.model, 32, tokens=longest + 8) as tried:
        found = sampled(base.model, rendering, prompts, max_new_tokens=6)
    assert found[:-1] == wanted
    assert isinstance(found[-1], Refused)
    assert "the memory does not suffice for its answer alone" in found[-1].reason
    assert tried.count(1) >= 2


def test_where_no_answer_fits_the_job_fails_and_no_prompt_does(base: Any, rendering: Any) -> None:
    """Of one prompt too: what comes back is a failure of the job, after which it is asked again."""
    with room_for(base.model, 0), pytest.raises(JobError, match="out of memory with one answer at a time"):
        sampled(base.model, rendering, PROMPTS[:1], max_new_tokens=6)


def test_distances_are_read_in_what_fits(base: Any, rendering: Any) -> None:
    """Two at a time give the figures of all at once; not even one is an error of its own kind."""
    import torch

    from policies.training.sampling import distance

    answers = [row[0] for row in sampled(base.model, rendering, PROMPTS, max_new_tokens=6)]

    def entropies() -> list[float]:
        found = distance.distances(base.model, 0, answers, policy=None, reference=None)
        return [each.entropy for each in found]

    wanted = entropies()
    with room_for(base.model, 2) as tried:
        assert entropies() == pytest.approx(wanted, rel=1e-4)
    assert max(tried) == 8
    with room_for(base.model, 0), pytest.raises(torch.OutOfMemoryError):
        entropies()

"""The prompt that kills a process is found among any number of others, in few tries."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.trials import ALONE_TWICE, noted, together


@pytest.mark.parametrize(
    ("trials", "size"),
    [
        ([], 0),
        ([None], 1),
        ([None] * 5, 5),
        ([8, 8, 8, 8, None, None], 4),
        ([5, 5, 5, 5, 5], 2),
        ([None, None, 2], 2),
        ([None, None, 8], 3),
        ([1, None], 1),
        ([3], 1),
        ([ALONE_TWICE, None], 1),
    ],
)
def test_a_batch_is_at_most_half_of_what_its_prompts_failed_in(trials: list[int | None], size: int) -> None:
    """Those that never failed wait behind older ones that did."""
    assert together(trials) == size


def test_a_trial_is_the_batch_and_the_second_time_alone_is_told_apart() -> None:
    """One death alone may be a coincidence."""
    assert [noted(trial, 7) for trial in (None, 14)] == [7, 7]
    assert [noted(trial, 1) for trial in (None, 2, 1, ALONE_TWICE)] == [1, 1, ALONE_TWICE, ALONE_TWICE]


@given(
    st.integers(1, 300).flatmap(
        lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1), max_size=3))
    )
)
def test_every_culprit_is_found_and_no_other(made: tuple[int, set[int]]) -> None:
    """With one of n prompts at fault it takes about three times log2 n tries, with several, several times."""
    count, culprits = made
    trials: dict[int, int | None] = dict.fromkeys(range(count))
    found: set[int] = set()
    tries = 0
    while trials:
        batch = list(trials)[: together(list(trials.values()))]
        assert batch
        if trials[batch[0]] == ALONE_TWICE:
            found.add(batch[0])
            del trials[batch[0]]
            continue
        tries += 1
        size = len(batch)
        trials |= {prompt: noted(trials[prompt], size) for prompt in batch}
        if not culprits & set(batch):
            for prompt in batch:
                del trials[prompt]
    assert found == culprits
    assert tries <= 1 + len(culprits) * (3 * math.ceil(math.log2(count + 1)) + 3)

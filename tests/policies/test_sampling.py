"""Sampling by hash."""

from hypothesis import given
from hypothesis import strategies as st

from policies.sampling import chosen


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_samples_nest(event_id: str, one: float, other: float) -> None:
    """What is chosen at a rate is chosen at every higher rate; 1 chooses all, 0 nothing."""
    low, high = sorted((one, other))
    assert not chosen(event_id, "audit", low) or chosen(event_id, "audit", high)
    assert chosen(event_id, "audit", 1.0)
    assert not chosen(event_id, "audit", 0.0)


def test_the_rate_is_kept_and_purposes_are_independent() -> None:
    """A tenth is about a tenth, and of the audited the other purpose takes its own share."""
    ids = [f"event-{number}" for number in range(20_000)]
    audited = [each for each in ids if chosen(each, "audit", 0.1)]
    assert abs(len(audited) / len(ids) - 0.1) < 0.01
    both = sum(chosen(each, "traffic", 0.5) for each in audited)
    assert abs(both / len(audited) - 0.5) < 0.06

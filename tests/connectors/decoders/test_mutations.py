"""Whatever is sent: a decoder raises nothing but its own error, and says what every event is."""

import random
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.decoders.detect import Decoders, shipped
from connectors.errors import DecodeError
from connectors.events import Skipped
from policies.feedback import FeedbackEvent
from policies.records import Trace
from tests.connectors.decoders.mutations import SAMPLES, mutated, values
from tests.connectors.decoders.test_decoders import decode


@cache
def decoders(name: str) -> Decoders:
    return Decoders(name)


NAMES = ["auto", *(each.name for each in shipped())]


def judged(raw: bytes, name: str) -> None:
    """Fails where a decoder failed, rather than say what is wrong."""
    found = decoders(name).outcomes(raw, source="s", timestamp=5.0)
    assert found
    for each in found:
        assert isinstance(each.result, Trace | FeedbackEvent | Skipped | DecodeError)
        assert " failed: " not in str(each.result)[:120], str(each.result)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), value=values)
def test_mutated_payloads_raise_nothing_else(seed: int, value: Any) -> None:
    """By content, and by a decoder that is named although the payload may be another's."""
    rng = random.Random(seed)
    raw = mutated(rng, value)
    judged(raw, "auto")
    judged(raw, rng.choice(NAMES))


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_is_mutated_is_whole_before(sample: str) -> None:
    """Each sample is known and holds an answer: mutations begin at what decodes."""
    assert any(isinstance(each, Trace) for each in decode(SAMPLES[sample]()))

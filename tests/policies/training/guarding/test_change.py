"""Whether training changed the policy is decided on the probe's numbers."""

import pytest

from policies.training.guarding.change import LEAST_KL_NATS, LEAST_LOGP_NATS, unchanged
from policies.training.jobs import Probe, ProbeSequence

REMEDY = "raise policy.recipe.steps"


def probe(kl: float, *moved: float) -> Probe:
    """A probe whose sequences moved by so many nats."""
    sequences = tuple(ProbeSequence(tokens=5, parent=-9.0, adapter=-9.0 + each) for each in moved)
    return Probe(tokens_sha256="0" * 64, kl_sequence=kl, sequences=sequences)


@pytest.mark.parametrize(
    "found",
    [
        probe(1.85, 5.4, -2.0),
        probe(LEAST_KL_NATS, 0.0),
        probe(0.0, 0.01, -1.01 * LEAST_LOGP_NATS),
    ],
    ids=["learned", "KL alone", "one answer alone"],
)
def test_what_can_be_seen_is_a_change(found: Probe) -> None:
    """Either of both: a KL at its limit, or a single answer at its."""
    assert unchanged(found, same_weights=False, remedy=REMEDY) is None


@pytest.mark.parametrize("found", [probe(0.0001, 0.009, -0.002), probe(0.0, 0.0), probe(0.009, 0.09)])
def test_what_nobody_can_see_is_none(found: Probe) -> None:
    """The reason has both figures with their limits, and what to do."""
    said = unchanged(found, same_weights=False, remedy=REMEDY)
    assert said is not None
    assert f"KL {found.kl_sequence:.4f} nats (least 0.01)" in said
    assert f"within {found.largest:.4f} (least 0.1)" in said
    assert said.endswith(f": {REMEDY}")


def test_what_rounding_alone_does_is_no_change() -> None:
    """In half precision nothing looks like something: what is seen must be more than twice that."""
    rounded = {"rounding_kl": 0.02, "rounding_largest": 0.3}
    nothing = probe(0.04, 0.6).model_copy(update=rounded)
    told = unchanged(nothing, same_weights=False, remedy=REMEDY)
    assert told is not None
    assert "KL 0.0400 nats (least 0.05) and log-probabilities within 0.6000 (least 0.7)" in told
    assert unchanged(probe(0.06, 0.6).model_copy(update=rounded), same_weights=False, remedy=REMEDY) is None
    assert unchanged(probe(0.04, 0.8).model_copy(update=rounded), same_weights=False, remedy=REMEDY) is None


def test_the_same_weights_are_no_change_whatever_the_numbers() -> None:
    """Numbers may be noise; bits are not."""
    said = unchanged(probe(1.0, 1.0), same_weights=True, remedy=REMEDY)
    assert said == f"training changed no weight: {REMEDY}"

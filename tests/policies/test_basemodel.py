"""An adapter fits the base model that it was trained on, and no other."""

import pytest

from policies.basemodel import Base


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Base("org/model", "a" * 40), Base("org/model", "a" * 40)),
        (Base("/models/base"), Base("/models/base")),
        (Base("/mnt/elsewhere/base"), Base("/models/base")),
    ],
    ids=["same commit", "same directory", "moved directory"],
)
def test_what_fits(ours: Base, theirs: Base) -> None:
    """The same commit of a hub, or a directory of the same name."""
    assert ours.refusal("agent-1", theirs) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "named"),
    [
        (Base("org/model", "a" * 40), Base("org/model", "b" * 40), "org/model at bbbbbbbbbbbb"),
        (Base("org/model", "a" * 40), Base("org/other", "a" * 40), "org/other at aaaaaaaaaaaa"),
        (Base("/models/base"), Base("/models/other"), "/models/other"),
        (Base("/models/base"), Base("org/base", "a" * 40), "org/base at aaaaaaaaaaaa"),
    ],
    ids=["commit", "model", "directory", "hub"],
)
def test_what_does_not_fit(ours: Base, theirs: Base, named: str) -> None:
    """The refusal is one line that names the adapter and both models."""
    why = ours.refusal("agent-1", theirs)
    assert why == f"agent-1 was trained on {named}, and the policy's base model is {ours}: it fits no other"

"""An adapter fits the base model that it was trained on, and no other."""

import pytest

from policies.basemodel import Base, WeightFile, digest_of_commit, digest_of_files


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


A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Base("/new/place", digest=A), Base("/models/base", digest=A)),
        (Base("/models/base", digest=A), Base("/models/base")),
        (Base("/models/base", unread="gone"), Base("/elsewhere/base")),
    ],
    ids=["moved and renamed", "older adapter", "older adapter, unread base"],
)
def test_content_decides_where_it_is_known(ours: Base, theirs: Base) -> None:
    """A base model may move and be renamed; an adapter that carries no digest is held by the name."""
    assert ours.refusal("agent-1", theirs) is None


def test_another_model_under_the_same_name_does_not_fit() -> None:
    """The refusal is one line that names both digests."""
    why = Base("/models/base", digest=B).refusal("agent-1", Base("/models/base", digest=A))
    assert why == (
        f"agent-1 was trained on /models/base (sha256 {A[:12]}), and the policy's base model is "
        f"/models/base (sha256 {B[:12]}): it fits no other"
    )


def test_what_cannot_be_read_is_not_taken_for_the_same() -> None:
    """An adapter that carries a digest needs ours, and the refusal says why there is none."""
    ours = Base("/models/base", unread="/models/base: no config.json")
    why = ours.refusal("agent-1", Base("/models/base", digest=A))
    assert why is not None
    assert why.endswith("cannot be told: /models/base: no config.json")


def test_only_what_is_held_by_its_name_is_noted() -> None:
    """The note names adapter and base model."""
    ours = Base("/models/base", digest=A)
    assert ours.note("agent-1", Base("/models/base", digest=A)) is None
    assert "agent-1 carries no digest" in (ours.note("agent-1", Base("/models/base")) or "")


WEIGHTS = [WeightFile("b", 2, "22"), WeightFile("a", 1, "11")]
CONFIG = {"model_type": "llama", "text_config": {"hidden_size": 8, "dtype": "float32"}, "rope": [1, {"a": 2}]}


@pytest.mark.parametrize(
    "again",
    [
        CONFIG
        | {"transformers_version": "9", "_name_or_path": "/x", "dtype": "bfloat16", "use_cache": False},
        CONFIG | {"text_config": {"hidden_size": 8, "dtype": "bfloat16", "_attn_implementation": "eager"}},
        dict(reversed(CONFIG.items())),
    ],
)
def test_the_same_model_saved_again_has_the_same_digest(again: dict[str, object]) -> None:
    """What libraries write beside the model's own settings, at any depth, and the order, do not count."""
    assert digest_of_files(again, WEIGHTS[::-1]) == digest_of_files(CONFIG, WEIGHTS)


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        (CONFIG | {"rope": [1, {"a": 3}]}, WEIGHTS),
        (CONFIG | {"text_config": {"hidden_size": 9}}, WEIGHTS),
        (CONFIG, WEIGHTS[:1]),
        (CONFIG, [WeightFile("b", 2, "23"), WEIGHTS[1]]),
        (CONFIG, [WeightFile("c", 2, "22"), WEIGHTS[1]]),
    ],
)
def test_another_model_has_another_digest(config: dict[str, object], weights: list[WeightFile]) -> None:
    """A setting at any depth, a file more or less, another content."""
    assert digest_of_files(config, weights) != digest_of_files(CONFIG, WEIGHTS)


def test_a_hubs_model_is_its_commit() -> None:
    """Another commit is another model."""
    assert digest_of_commit("org/model", "a" * 40) == digest_of_commit("org/model", "a" * 40)
    assert digest_of_commit("org/model", "a" * 40) != digest_of_commit("org/model", "b" * 40)

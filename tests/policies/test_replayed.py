"""Which answers are a judge's own is told by its name."""

import pytest

from policies.replayed import own_model

MODELS = ("bard", "claude", "gpt35", "gpt4", "vicuna-13b", "a")


@pytest.mark.parametrize(
    ("judge", "model"),
    [
        ("bard", "bard"),
        ("claude-1", "claude"),
        ("Claude 3", "claude"),
        ("gpt-3.5-turbo", "gpt35"),
        ("gpt-4", "gpt4"),
        ("GPT_4-qlora", "gpt4"),
        ("vicuna-13b", "vicuna-13b"),
        ("gpt-4o", None),
        ("vicuna-7b", None),
        ("alpha", None),
        ("--", None),
        ("", None),
    ],
)
def test_a_judges_own_model(judge: str, model: str | None) -> None:
    """Its name is the model's, or goes on from it after a whole word, however either is punctuated."""
    assert own_model(judge, MODELS) == model

"""Distances are measured on models of every kind."""

from pathlib import Path

import pytest

from tests.families import FAMILIES, build

pytestmark = pytest.mark.training


@pytest.mark.parametrize("name", ["gemma3", "qwen3.5", "gpt2"])
def test_the_vocabulary_is_as_wide_as_the_logits(tmp_path: Path, name: str) -> None:
    """Of a multimodal model too, whose configuration says it elsewhere."""
    import torch

    from policies.training.model import lora
    from policies.training.sampling.distance import vocabulary

    model = lora.load(str(build(FAMILIES[name], tmp_path)), None, "cpu").model
    with torch.no_grad():
        assert model(input_ids=torch.tensor([[5, 6]])).logits.shape[-1] == vocabulary(model)

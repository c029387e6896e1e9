"""A model's outline is the model's, and takes neither its weights nor memory for them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from policies.recipes import Lora
from policies.training.errors import JobError
from policies.training.model import lora
from policies.training.model.outline import outline
from tests.families import FAMILIES, build

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]
SHAPES = [Lora(r=4, alpha=8), Lora(r=2, target_modules=("q_proj", "down_proj"))]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_outline_is_the_loaded_models(tiny_model: Path, tmp_path: Path, shape: Lora) -> None:
    """Every count is that of the model with its adapter; the file of weights is not even there."""
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    found = outline(str(bare), None, shape)
    base = lora.load(str(tiny_model), None, "cpu")
    assert found.parameters == found.active == base.model.num_parameters()
    model = lora.fresh(base, shape)
    assert found.trainable == sum(value.numel() for value in lora.trainable(model).values())
    assert (found.layers, found.hidden, found.feed_forward, found.key_value) == (2, 32, 64, 16)
    assert found.vocabulary == base.model.config.vocab_size


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not match:RuntimeWarning")
def test_the_outline_of_every_family_is_what_is_trained(name: str, tmp_path: Path) -> None:
    """By the default recipe, whatever it leaves alone: towers for images, and what Mamba's kernels read."""
    directory = str(build(FAMILIES[name], tmp_path))
    model = lora.fresh(lora.load(directory, None, "cpu"), Lora(r=2, alpha=4))
    trained = sum(value.numel() for value in lora.trainable(model).values())
    assert outline(directory, None, Lora(r=2, alpha=4)).trainable == trained


def saved(config: Any, directory: Path) -> str:
    config.save_pretrained(str(directory))
    return str(directory)


def test_a_token_passes_only_its_experts(tmp_path: Path) -> None:
    """Of four experts two: half of their weights are active, and their widths add up."""
    from transformers import Qwen3MoeConfig

    config = Qwen3MoeConfig(
        vocab_size=100, hidden_size=16, intermediate_size=99, moe_intermediate_size=8, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=4, num_experts=4, num_experts_per_tok=2,
        decoder_sparse_step=1, tie_word_embeddings=True,
    )  # fmt: skip
    found = outline(saved(config, tmp_path), None, Lora(r=2, target_modules=("q_proj",)))
    experts = 2 * 4 * 3 * 16 * 8
    assert found.parameters - found.active == experts / 2
    assert (found.feed_forward, found.key_value) == (16, 8)


def test_a_configuration_with_names_of_its_own_is_read(tmp_path: Path) -> None:
    """GPT-2 calls its widths otherwise, and leaves one out."""
    from transformers import GPT2Config

    config = GPT2Config(vocab_size=100, n_embd=16, n_layer=2, n_head=4, n_positions=32)
    found = outline(saved(config, tmp_path), None, Lora(r=2, target_modules=("c_attn",)))
    assert (found.hidden, found.layers, found.feed_forward, found.key_value) == (16, 2, 64, 16)


def test_layers_that_differ_count_as_the_widest(tmp_path: Path) -> None:
    """Gemma 4 has heads of two widths, and its configuration refuses to name one."""
    from transformers import Gemma4Config

    text = {
        "vocab_size": 100, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "global_head_dim": 8,
    }  # fmt: skip
    found = outline(saved(Gemma4Config(text_config=text), tmp_path), None, Lora(r=2))
    assert (found.hidden, found.feed_forward) == (16, 24)
    assert found.key_value == 2 * 8


def test_an_adapter_that_finds_nothing_is_refused(tiny_model: Path) -> None:
    """In one line that names the key."""
    with pytest.raises(JobError, match=r"^recipe\.lora\.target_modules no_such: nothing") as error:
        outline(str(tiny_model), None, Lora(target_modules=("no_such",)))
    assert "\n" not in str(error.value)

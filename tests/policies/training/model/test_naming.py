"""An adapter has the names of the checkpoint's own class, so that a server applies it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.recipes import Lora
from policies.training.errors import JobError
from policies.training.layout import ADAPTER_CONFIG
from tests.families import FAMILIES, Family, build

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Casting complex values to real"),  # by the fixture, in Llama 4's tower
]

SIGHT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
}
MORE = {
    "llama4": Family(
        "llama3_1",
        "Llama4Config",
        "Llama4ForConditionalGeneration",
        {
            "num_local_experts": 2,
            "intermediate_size_mlp": 48,
            "head_dim": 8,
            "interleave_moe_layer_step": 2,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
        },
        {
            "vision_config": {
                **SIGHT,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "vision_output_dim": 16,
                "projector_input_dim": 16,
                "projector_output_dim": 16,
            }
        },
    ),
    "mllama": Family(
        "llama3_1",
        "MllamaConfig",
        "MllamaForConditionalGeneration",
        {"cross_attention_layers": [1], "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        {
            "vision_config": {
                **SIGHT,
                "num_global_layers": 1,
                "attention_heads": 2,
                "vision_output_dim": 32,
                "intermediate_layers_indices": [0],
                "supported_aspect_ratios": [[1, 1]],
            }
        },
    ),
}
MULTIMODAL = {name: FAMILIES[name] for name in ("qwen3.5", "gemma3", "gemma4")} | MORE
Made = Callable[[str], Path]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return lambda name: build((MULTIMODAL | FAMILIES)[name], tmp_path / name)


def moved(model: Any) -> None:
    """Weights that change what the model says."""
    import torch

    from policies.training.model import lora

    torch.manual_seed(1)
    for value in lora.trainable(model).values():
        torch.nn.init.normal_(value, std=0.2)


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(5, 17)[None]).logits


@pytest.mark.parametrize(
    ("name", "text", "prefix"),
    [
        ("qwen3.5", "Qwen3_5ForCausalLM", "model.language_model."),
        ("llama4", "Llama4ForCausalLM", "language_model.model."),
        ("mllama", "MllamaForCausalLM", "model.language_model."),
        ("gemma3", "Gemma3ForConditionalGeneration", "model.language_model."),
        ("gemma4", "Gemma4ForConditionalGeneration", "model.language_model."),
    ],
)
def test_plain_peft_applies_it_to_the_checkpoints_own_class(
    made: Made, tmp_path: Path, name: str, text: str, prefix: str
) -> None:
    """The same logits as what was trained, on the class that a server loads; nothing lies beside the text."""
    import transformers
    from peft import PeftModel

    from policies.training.model import lora

    base = lora.load(str(made(name)), None, "cpu")
    assert type(base.model).__name__ == text
    model = lora.fresh(base, Lora(r=4, alpha=8))
    moved(model)
    trained = logits(model)
    with lora.using(model, None):
        assert not trained.allclose(logits(model), atol=0.1)
    lora.save(model, tmp_path / "adapter", base)
    lora.require_own(base, tmp_path / "adapter")
    targets = json.loads((tmp_path / "adapter" / ADAPTER_CONFIG).read_text())["target_modules"]
    assert all(target.startswith(prefix) for target in targets)
    whole = getattr(transformers, MULTIMODAL[name].model).from_pretrained(base.name)
    served = PeftModel.from_pretrained(
        whole, str(tmp_path / "adapter")
    )  # a warning of lost weights is an error
    assert logits(served).allclose(trained, atol=1e-5)
    model.unload()
    assert logits(lora.with_adapters(base, {"again": tmp_path / "adapter"})).equal(trained)


def test_an_adapter_with_the_loaded_classs_names_is_read_as_well(made: Made, tmp_path: Path) -> None:
    """Those from before names were told apart."""
    from dataclasses import replace

    from policies.training.model import lora
    from policies.training.model.naming import SAME

    base = lora.load(str(made("qwen3.5")), None, "cpu")
    model = lora.fresh(base, Lora(r=4, alpha=8))
    moved(model)
    trained = logits(model)
    lora.save(model, tmp_path / "older", replace(base, naming=SAME))
    model.unload()
    assert logits(lora.with_adapters(base, {"older": tmp_path / "older"})).equal(trained)
    with pytest.raises(JobError, match="older does not fit Qwen3_5ForConditionalGeneration: none of its"):
        lora.require_own(base, tmp_path / "older")


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ("NovelForConditionalGeneration", "transformers does not know it: no server could be told the names"),
        ("MistralForCausalLM", "cannot be built from this configuration: take a text model"),
    ],
)
def test_a_class_that_cannot_be_told_is_refused(made: Made, own: str, told: str) -> None:
    """One line, when the base model is loaded: nothing is trained for nobody."""
    from policies.training.model import lora

    directory = made("qwen3.5")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"architectures": [own]}))
    with pytest.raises(JobError, match=f"its own class {own} is not Qwen3_5ForCausalLM, which was .*{told}"):
        lora.load(str(directory), None, "cpu")


def test_a_model_that_is_no_part_of_the_other_has_no_place_there(tiny_model: Path, made: Made) -> None:
    """The same class made of other parts is not it; the same parts are, whatever is around them."""
    from policies.training.model import lora
    from policies.training.model.naming import _place

    small = lora.load(str(tiny_model), None, "cpu").model
    other = lora.load(str(made("gemma2")), None, "cpu").model
    assert _place(small, other) is None
    assert _place(small, small) == ("", "")
    del other.model
    other.model = small
    assert _place(small, other) == ("", "model")


def test_an_older_name_of_a_text_class_is_the_same_class(tiny_model: Path, tmp_path: Path) -> None:
    """Where there is nothing but text there are no other names."""
    import shutil

    from policies.training.model import lora

    directory = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    config = json.loads((directory / "config.json").read_text())
    for own in (["LLaMAForCausalLM"], [], None):
        (directory / "config.json").write_text(json.dumps(config | {"architectures": own}))
        assert lora.load(str(directory), None, "cpu").naming.same

"""What a recipe's `target_modules` mean on a base model, and what they must not."""

from pathlib import Path
from typing import Any

import pytest

from policies.training.errors import JobError
from tests.families import FAMILIES, build

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]


def model_of(name: str, directory: Path) -> Any:
    from policies.training.model import lora

    return lora.load(str(build(FAMILIES[name], directory)), None, "cpu").model


def test_of_a_text_model_peft_is_told_the_recipes_words(tiny_model: Path) -> None:
    """It knows its own families best."""
    from policies.training.model import lora
    from policies.training.model.targets import resolve

    model = lora.load(str(tiny_model), None, "cpu").model
    assert resolve(model, "all-linear") == "all-linear"
    assert resolve(model, ("q_proj", "v_proj")) == ["q_proj", "v_proj"]
    assert resolve(model, r".*\.q_proj") == r".*\.q_proj"


@pytest.mark.parametrize("wanted", ["all-linear", ("q_proj",), r".*q_proj"])
def test_of_a_multimodal_model_only_the_text_is_meant(tmp_path: Path, wanted: str | tuple[str, ...]) -> None:
    """Its tower has layers of the same names, which text never trains."""
    from policies.training.model.targets import resolve

    model = model_of("gemma3", tmp_path)
    named = [name for name, _ in model.named_modules() if name.endswith("q_proj")]
    assert any(name.startswith("model.vision_tower") for name in named)
    found = resolve(model, wanted)
    assert isinstance(found, list)
    assert {name for name in found if name.endswith("q_proj")} == {
        name for name in named if name.startswith("model.language_model.")
    }
    assert all(name.startswith("model.language_model.") for name in found)


@pytest.mark.parametrize(
    ("family", "wanted", "told"),
    [
        ("llama", ("query",), "target_modules query: nothing in LlamaForCausalLM is that"),
        ("llama", ("q_proj", "lm_head"), "names the output head lm_head: an adapter there is not trained"),
        ("qwen2", ("embed_tokens",), "names model.embed_tokens, which is tied to the output head"),
        ("gemma3", ("fc1",), "nothing in Gemma3ForConditionalGeneration is that"),
        ("nemotron-h", ("out_proj",), "recipe.lora cannot be had on .*incompatible with Mamba"),
    ],
)
def test_what_would_not_be_trained_is_refused(
    tmp_path: Path, family: str, wanted: tuple[str, ...], told: str
) -> None:
    """One line each: nothing, a head the loss passes by, half of a tied pair, a tower, a kernel's own."""
    from policies.recipes import Lora
    from policies.training.model import lora

    base = lora.load(str(build(FAMILIES[family], tmp_path)), None, "cpu")
    with pytest.raises(JobError, match=told) as caught:
        lora.fresh(base, Lora(r=4, alpha=8, target_modules=wanted))
    assert "\n" not in str(caught.value)

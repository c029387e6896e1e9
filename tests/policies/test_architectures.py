"""What can be trained is told from config.json alone, in one line."""

from typing import Any

import pytest

from policies.architectures import RELEASE, TRAINABLE, architecture, problem


@pytest.mark.training
def test_the_list_is_what_the_installed_release_loads() -> None:
    """`AutoModelForCausalLM` of the locked release has a class for exactly these."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    assert frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) == TRAINABLE
    assert transformers.__version__.startswith(f"{RELEASE}.")


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
        {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
        {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {}},
        {"model_type": "qwen3"},
        {"model_type": "gpt_oss", "quantization_config": {"quant_method": "mxfp4"}},
    ],
)
def test_what_can_be_trained(config: dict[str, Any]) -> None:
    """Text models, multimodal ones with a text class, and weights that transformers itself unpacks."""
    assert problem(config) is None


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "it has no model_type"),
        ({"model_type": 3}, "it has no model_type"),
        ({"model_type": "mistral3", "vision_config": {"a": 1}}, "model_type mistral3 is multimodal"),
        ({"model_type": "qwen2_5_vl", "vision_config": {"a": 1}}, "has no text class for it"),
        ({"model_type": "qwen3_vl", "vision_config": {"a": 1}}, "take a text model"),
        ({"model_type": "t5"}, "is none that AutoModelForCausalLM"),
        ({"model_type": "novel", "auto_map": {"AutoModel": "m.M"}}, "needs code from its own directory"),
        (
            {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]},
            "has no head to answer",
        ),
        ({"model_type": "qwen3", "architectures": ["Qwen3Model"]}, "its class Qwen3Model has no head"),
        (
            {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}},
            "quantised by gptq and the package gptqmodel is missing",
        ),
        (
            {"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes"}},
            "the package bitsandbytes is missing: install it",
        ),
    ],
)
def test_what_cannot_be_trained_is_told(config: dict[str, Any], told: str) -> None:
    """One line that names what is wrong and what to take instead."""
    said = problem(config) or ""
    assert told in said
    assert "\n" not in said


def test_the_class_is_the_first_one_named() -> None:
    """None where the configuration does not say."""
    assert architecture({"architectures": ["A", "B"]}) == "A"
    assert architecture({"architectures": []}) is None
    assert architecture({}) is None

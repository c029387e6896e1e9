"""A model's outline without its weights: how many there are, how wide it is, what an adapter adds."""

import warnings
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from transformers import AutoModelForCausalLM

from policies.policy import Lora
from policies.training.errors import JobError
from policies.training.model.loading import load_config
from policies.training.planning.shape import Shape

EXPERTS = ".experts."


def outline(name: str, revision: str | None, lora: Lora) -> Shape:
    """The shape of the base with a new adapter on it.

    The model is built on torch's meta device from its configuration: every tensor has its size and none has
    memory. Raises JobError where the adapter finds nothing to adapt.
    """
    config = load_config(name, revision)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        parameters = _count(model.named_parameters())
        experts = _count((name, value) for name, value in model.named_parameters() if EXPERTS in name)
        trainable = _adapter(model, lora)
    text = config.get_text_config()
    share = _experts_of_a_token(text) / max(_experts(text), 1)
    heads = getattr(text, "num_attention_heads", 1)
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        parameters=parameters,
        active=parameters - round(experts * (1 - share)),
        trainable=trainable,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        feed_forward=_feed_forward(text),
        key_value=(getattr(text, "num_key_value_heads", None) or heads) * width,
        vocabulary=text.vocab_size,
    )


def _count(tensors: Any) -> int:
    return sum(value.numel() for _, value in tensors)


def _adapter(model: Any, lora: Lora) -> int:
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = LoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=targets, task_type="CAUSAL_LM")
    model.requires_grad_(requires_grad=False)
    try:
        with warnings.catch_warnings(action="ignore"):  # what is said here is said again at the training
            inject_adapter_in_model(config, model, low_cpu_mem_usage=True)
    except ValueError as error:
        raise JobError(f"recipe.lora.target_modules: {' '.join(str(error).split())}") from None
    return _count((name, value) for name, value in model.named_parameters() if value.requires_grad)


def _experts(text: Any) -> int:
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    return next((int(found) for name in names if (found := getattr(text, name, None))), 1)


def _experts_of_a_token(text: Any) -> int:
    return int(getattr(text, "num_experts_per_tok", None) or 1)


def _feed_forward(text: Any) -> int:
    """Of one token: its experts' together, where there are any."""
    of_expert = ("moe_intermediate_size",) if _experts(text) > 1 else ()
    names = (*of_expert, "intermediate_size", "n_inner", "ffn_dim")
    width = next((found for name in names if (found := getattr(text, name, None))), 4 * text.hidden_size)
    widest = max(width) if isinstance(width, (list, tuple)) else int(width)
    return widest * _experts_of_a_token(text) if of_expert else widest

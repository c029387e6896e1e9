"""A model's outline without its weights: how many there are, how wide it is, what an adapter adds."""

import warnings
from typing import Any

import torch
from peft import inject_adapter_in_model
from transformers import AutoModelForCausalLM

from policies.recipes import Lora
from policies.training.errors import JobError
from policies.training.model import targets
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
    heads = _size(text, "num_attention_heads") or 1
    width = _size(text, "head_dim") or text.hidden_size // heads
    return Shape(
        parameters=parameters,
        active=parameters - round(experts * (1 - share)),
        trainable=trainable,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        feed_forward=_feed_forward(text),
        key_value=(_size(text, "num_key_value_heads") or heads) * width,
        vocabulary=text.vocab_size,
    )


def _count(tensors: Any) -> int:
    return sum(value.numel() for _, value in tensors)


def _adapter(model: Any, lora: Lora) -> int:
    config = targets.configured(model, lora)
    model.requires_grad_(requires_grad=False)
    try:
        with warnings.catch_warnings(action="ignore"):  # what is said here is said again at the training
            inject_adapter_in_model(config, model, low_cpu_mem_usage=True)
    except ValueError as error:
        raise JobError(f"recipe.lora.target_modules: {' '.join(str(error).split())}") from None
    return _count((name, value) for name, value in model.named_parameters() if value.requires_grad)


def _experts(text: Any) -> int:
    return _size(text, "num_local_experts", "num_experts", "n_routed_experts") or 1


def _experts_of_a_token(text: Any) -> int:
    return _size(text, "num_experts_per_tok") or 1


def _feed_forward(text: Any) -> int:
    """Of one token: its experts' together, where there are any."""
    of_expert = ("moe_intermediate_size",) if _experts(text) > 1 else ()
    width = _size(text, *of_expert, "intermediate_size", "n_inner", "ffn_dim") or 4 * text.hidden_size
    return width * _experts_of_a_token(text) if of_expert else width


def _size(text: Any, *names: str) -> int:
    """The first of these sizes that the configuration has, the largest where its layers differ; 0: none."""
    for name in names:
        try:
            found = getattr(text, name, None)
        except RuntimeError:  # transformers' answer to a question that each layer answers differently
            layers = (text.per_layer_config[index] for index in range(text.num_hidden_layers))
            found = [getattr(layer, name, None) for layer in layers]
        sizes = [int(size) for size in (found if isinstance(found, (list, tuple)) else [found]) if size]
        if sizes:
            return max(sizes)
    return 0

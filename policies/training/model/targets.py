"""What a recipe's adapter is on a base model, and which of its modules it is on."""

from typing import Any

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from torch import nn
from transformers.pytorch_utils import Conv1D

from policies.recipes import Lora
from policies.training.errors import JobError
from policies.training.model.naming import listed, texts

ALL = "all-linear"
MAMBA = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
KERNELS = frozenset({"out_proj", "conv1d"})
"""Modules of Mamba's layers whose weights its kernels read themselves: an adapter there would be passed by,
and PEFT refuses it."""
Targets = str | list[str]


def configured(model: Any, shape: Lora) -> LoraConfig:
    """What PEFT is told to make of the recipe's shape on this model. Raises JobError as `resolve` does."""
    return LoraConfig(
        r=shape.r,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=resolve(model, shape.target_modules),
        fan_in_fan_out=transposed(model),
        task_type="CAUSAL_LM",
    )


def resolve(model: Any, wanted: str | tuple[str, ...]) -> Targets:
    """What PEFT is told to adapt: the recipe's own words where the whole model is text, else the names of
    those of its text modules that they mean.

    Raises JobError where nothing is meant, and for an embedding that cannot be adapted rightly.
    """
    text, modules = texts(model), dict(model.named_modules())
    head = next((name for name, found in modules.items() if found is model.get_output_embeddings()), None)
    everything = isinstance(wanted, str) and wanted.lower() == ALL
    named = _linears(modules, head) if everything else _named(modules, wanted)
    _refuse_embeddings(model, modules, named, head)
    meant = {name for name in named if not everything or _plain(model, name, modules[name])} & text
    if not meant:
        raise JobError(
            f"recipe.lora.target_modules {_said(wanted)}: nothing in {type(model).__name__} is that"
        )
    if meant == named:
        return wanted if isinstance(wanted, str) else list(wanted)
    return sorted(meant)


def _linears(modules: dict[str, Any], head: str | None) -> set[str]:
    found = (name for name, module in modules.items() if isinstance(module, nn.Linear | Conv1D))
    return {name for name in found if name != head}


def _plain(model: Any, name: str, module: Any) -> bool:
    """Whether an adapter on the linear layer does what it should: some model's own class that only inherits
    from one (a router) answers something else, and Mamba's kernels pass a layer by.
    """
    if type(module).__module__.startswith("transformers.models."):
        return False
    return model.config.model_type not in MAMBA or name.rsplit(".", 1)[-1] not in KERNELS


def _named(modules: dict[str, Any], wanted: str | tuple[str, ...]) -> set[str]:
    config = LoraConfig(target_modules=wanted if isinstance(wanted, str) else list(wanted))
    return {name for name in modules if name and check_target_module_exists(config, name)}


def transposed(model: Any) -> bool:
    """Whether the model's layers hold their weights the other way round, as GPT-2's do."""
    return any(isinstance(module, Conv1D) for module in model.modules())


def _refuse_embeddings(model: Any, modules: dict[str, Any], meant: set[str], head: str | None) -> None:
    """The loss reads the head's own weight and would not train an adapter on it. One on the input embedding
    of a tied pair would change the head as well once it is merged, and not before.
    """
    if head in meant:
        raise JobError(
            f"recipe.lora.target_modules names the output head {head}: an adapter there is not trained"
        )
    embedding = model.get_input_embeddings()
    named = [name for name in meant if modules[name] is embedding]
    if named and model.get_output_embeddings() is not None and _tied(model):
        raise JobError(
            f"recipe.lora.target_modules names {listed(named)}, which is tied to the output head: an adapter "
            "there means one thing merged and another one not"
        )


def _tied(model: Any) -> bool:
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def _said(wanted: str | tuple[str, ...]) -> str:
    return wanted if isinstance(wanted, str) else ", ".join(wanted)

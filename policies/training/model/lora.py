"""One frozen base model with LoRA adapters on it: loading, switching, saving.

There is never a second copy of the base: the reference of a loss or of a comparison is the same weights with
the adapter off, or with another adapter on.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from policies.policy import Lora
from policies.training.errors import JobError
from policies.training.jobs import ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterFile, Bf16, Device
from policies.training.model.device import chosen, precision

POLICY = "default"


@dataclass(frozen=True, slots=True)
class Base:
    """A loaded base model with its tokenizer."""

    model: Any
    tokenizer: Any
    device: torch.device
    name: str
    revision: str | None


def load(name: str, revision: str | None, device: Device, bf16: Bf16 = "auto") -> Base:
    """Loads a local directory or a pinned hub model. Only safetensors, never code from the model's files."""
    where = chosen(device)
    tokenizer = load_tokenizer(name, revision)
    model = AutoModelForCausalLM.from_pretrained(
        name, dtype=precision(where, bf16), use_safetensors=True, **source(name, revision)
    )
    model.requires_grad_(requires_grad=False)
    os.environ["HF_HUB_OFFLINE"] = "1"  # all is here: no checkpoint may wait for, or fail with, the network
    return Base(model.to(where).eval(), tokenizer, where, name, revision)


def load_tokenizer(name: str, revision: str | None) -> Any:
    """The base model's tokenizer. One without a padding token pads with its end token."""
    tokenizer = AutoTokenizer.from_pretrained(name, **source(name, revision))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def source(name: str, revision: str | None) -> dict[str, Any]:
    """How a base model's files are asked for: a directory without the network, a hub's at its commit."""
    local = Path(name).is_dir()
    asked: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    return asked if local else asked | {"revision": revision}


def fresh(base: Base, shape: Lora) -> Any:
    """The base with a new, trainable adapter. It starts as the base: its B matrices are zero."""
    targets = shape.target_modules if isinstance(shape.target_modules, str) else list(shape.target_modules)
    config = LoraConfig(
        r=shape.r,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base.model, config)


def continued(base: Base, parent: Path, shape: Lora) -> Any:
    """The base with the parent's adapter, trainable. Raises JobError where its shape is not the recipe's."""
    model = PeftModel.from_pretrained(base.model, str(parent), is_trainable=True)
    config = model.peft_config[POLICY]
    if (config.r, config.lora_alpha) != (shape.r, shape.alpha):
        raise JobError(
            f"the parent adapter {parent.name} has r={config.r}, alpha={config.lora_alpha} and the recipe "
            f"r={shape.r}, alpha={shape.alpha}: give the recipe the parent's shape, or train from the base"
        )
    return model


def with_adapters(base: Base, adapters: dict[str, Path]) -> Any:
    """The base with adapters loaded by name, for inference; the base itself where there are none."""
    model = base.model
    for index, (name, directory) in enumerate(adapters.items()):
        if index == 0:
            model = PeftModel.from_pretrained(model, str(directory), adapter_name=name)
        else:
            model.load_adapter(str(directory), adapter_name=name)
    return model.eval()


@contextmanager
def using(model: Any, adapter: str | None) -> Iterator[None]:
    """Within it the model answers with that adapter; None: as the base."""
    if not isinstance(model, PeftModel):
        if adapter is not None:
            raise ValueError(f"no adapter {adapter!r} on a bare model")
        yield
    elif adapter is None:
        with model.disable_adapter():
            yield
    else:
        before = model.active_adapter
        model.set_adapter(adapter)
        try:
            yield
        finally:
            model.set_adapter(before)


def trainable(model: Any) -> dict[str, torch.Tensor]:
    """The parameters that training changes, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def fingerprint(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names and bytes."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].detach().float().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def save(model: Any, directory: Path, base: Base) -> dict[str, AdapterFile]:
    """Writes the adapter's two files and answers their digests. Raises JobError on a non-finite weight.

    The same weights give the same bytes: keys are sorted, and nothing of this machine but the base model's
    name is written.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(_state(model).items())}
    bad = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise JobError(f"the adapter has weights that are not finite: {bad[0]} and {len(bad) - 1} more")
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, str(directory / ADAPTER_WEIGHTS), metadata={"format": "pt"})
    config = {key: _plain(value) for key, value in model.peft_config[POLICY].to_dict().items()}
    config |= {"base_model_name_or_path": base.name, "revision": base.revision, "inference_mode": True}
    (directory / ADAPTER_CONFIG).write_text(
        json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    return {name: describe(directory / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}


def _state(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's weights alone. Left to itself PEFT asks the hub whether the vocabulary has grown."""
    found: dict[str, torch.Tensor] = get_peft_model_state_dict(
        model, adapter_name=POLICY, save_embedding_layers=False
    )
    return found


def describe(path: Path) -> AdapterFile:
    """Digest and size of a file."""
    with path.open("rb") as file:
        return AdapterFile(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else value

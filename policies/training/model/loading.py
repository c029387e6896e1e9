"""A base model into memory: whole, with weights for all of it, and with the names that a server knows."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from policies import architectures, checkpoint
from policies.training.errors import JobError
from policies.training.jobs import Device
from policies.training.model import naming
from policies.training.model.naming import Naming

UNLOADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError,
    StrictDataclassError,
)  # fmt: skip
"""What libraries raise over a model's files."""


@dataclass(frozen=True, slots=True)
class Base:
    """A loaded base model with its tokenizer. `name` is its directory's real path, or a hub's id."""

    model: Any
    tokenizer: Any
    device: torch.device
    name: str
    revision: str | None
    naming: Naming = naming.SAME


def load(name: str, revision: str | None, device: Device) -> Base:
    """Loads a local directory or a pinned hub model. Only safetensors, never code from the model's files.

    Raises JobError, one line, for what cannot be loaded, and for what transformers would load wrongly: a
    checkpoint without weights for a part of the model (it would be random), or one whose own class gives its
    modules names that cannot be told.
    """
    where = _device(device)
    local = Path(name).is_dir()
    if local:
        name = _checked(name)
    common: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    if not local:
        common["revision"] = revision
    try:
        return _load(name, revision, where, common)
    except torch.OutOfMemoryError:
        raise
    except UNLOADABLE as error:
        raise JobError(f"{name}: cannot be loaded: {type(error).__name__}: {_line(error)}") from error


def _load(name: str, revision: str | None, where: torch.device, common: dict[str, Any]) -> Base:
    raw, _ = PretrainedConfig.get_config_dict(name, **common)
    problem = architectures.problem(raw)
    if problem is not None:
        raise JobError(f"{name}: config.json: {problem}")
    tokenizer = AutoTokenizer.from_pretrained(name, **common)
    model, loading = AutoModelForCausalLM.from_pretrained(
        name, dtype=_dtype(where), use_safetensors=True, output_loading_info=True, **common
    )
    _complete(name, loading)
    model.requires_grad_(requires_grad=False)
    named = naming.derive(name, model, AutoConfig.from_pretrained(name, **common))
    _pad(name, tokenizer, model.get_input_embeddings().weight.shape[0])
    os.environ["HF_HUB_OFFLINE"] = "1"  # all is here: no checkpoint may wait for, or fail with, the network
    # Quantised weights are on their device already, and some refuse to be moved.
    placed = model if getattr(model, "is_quantized", False) else model.to(where)
    return Base(placed.eval(), tokenizer, where, name, revision, named)


def _checked(name: str) -> str:
    """The directory's real path. Raises JobError where it holds no base model."""
    directory = Path(name).resolve()
    try:
        checkpoint.read(directory)
    except checkpoint.CheckpointError as error:
        raise JobError(str(error)) from None
    return str(directory)


def _device(device: Device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise JobError("device is cuda and this machine has none: set training.device to auto or cpu")
    return torch.device(device)


def _dtype(where: torch.device) -> torch.dtype:
    return torch.bfloat16 if where.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _complete(name: str, loading: dict[str, Any]) -> None:
    """Raises JobError where weights were missing: transformers fills them with random numbers and goes on."""
    missing = sorted(map(str, [*loading["missing_keys"], *loading["mismatched_keys"]]))
    if missing:
        raise JobError(
            f"{name}: its files have no weights for {missing[0]}{_more(missing)}: they would be random. Take "
            "the checkpoint of a causal language model, whole"
        )


def _pad(name: str, tokenizer: Any, rows: int) -> None:
    """Gives the tokenizer a padding token that the model has. Raises JobError where there is none.

    Padding is masked: any token will do, and the end token means nothing else there.
    """
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    if pad is not None and pad < rows:
        return
    if end is None:
        which = (
            "neither a padding nor an end token" if pad is None else f"no end token, and its padding {pad}"
        )
        beyond = "" if pad is None else f" lies beyond the model's {rows} embeddings"
        raise JobError(f"{name}: its tokenizer has {which}{beyond}: set eos_token in tokenizer_config.json")
    if end >= rows:
        raise JobError(
            f"{name}: its tokenizer's end token {end} lies beyond the model's {rows} embeddings: this is "
            "another model's tokenizer"
        )
    tokenizer.pad_token = tokenizer.eos_token


def _more(found: list[str]) -> str:
    return f" and {len(found) - 1} more" if len(found) > 1 else ""


def _line(error: BaseException) -> str:
    """What the library says, in one line of bearable length."""
    said = " ".join(str(error).split())
    return said if len(said) <= 300 else f"{said[:300]}…"

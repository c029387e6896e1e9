"""A base model into memory: whole, with weights for all of it, and with the names that a server knows."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
)

from policies import architectures, checkpoint
from policies.training.errors import JobError
from policies.training.jobs import Bf16, Device
from policies.training.model import device as devices
from policies.training.model import naming
from policies.training.model.naming import Naming

UNLOADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError,
    StrictDataclassError,
)  # fmt: skip
"""What libraries raise over a model's files."""


@dataclass(frozen=True, slots=True)
class LoadedBase:
    """A loaded base model with its tokenizer. `name` is its directory's real path, or a hub's id."""

    model: Any
    tokenizer: Any
    device: torch.device
    name: str
    revision: str | None
    naming: Naming = naming.SAME


def load(name: str, revision: str | None, device: Device, bf16: Bf16 = "auto") -> LoadedBase:
    """Loads a local directory or a pinned hub model. Only safetensors, never code from the model's files.

    Raises JobError, one line, for what cannot be loaded, and for what transformers would load wrongly: a
    checkpoint without weights for a part of the model (it would be random), or one whose own class gives its
    modules names that cannot be told.
    """
    where = devices.chosen(device)
    name = checked(name)
    try:
        return _load(name, revision, where, devices.precision(where, bf16))
    except torch.OutOfMemoryError:
        raise
    except UNLOADABLE as error:
        raise JobError(f"{name}: cannot be loaded: {type(error).__name__}: {_line(error)}") from error


def source(name: str, revision: str | None) -> dict[str, Any]:
    """How a base model's files are asked for: a directory without the network, a hub's at its commit."""
    local = Path(name).is_dir()
    asked: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    return asked if local else asked | {"revision": revision}


def load_config(name: str, revision: str | None) -> Any:
    """The base model's configuration. Raises JobError, also for a type that is no causal language model's."""
    try:
        _check_type(name, revision)
        return AutoConfig.from_pretrained(name, **source(name, revision))
    except UNLOADABLE as error:
        raise JobError(f"{name}: {_line(error)}") from None


def _check_type(name: str, revision: str | None) -> None:
    raw, _ = PretrainedConfig.get_config_dict(name, **source(name, revision))
    problem = architectures.problem(raw)
    if problem is not None:
        raise JobError(f"{name}: config.json: {problem}")


def load_tokenizer(name: str, revision: str | None) -> Any:
    """The base model's tokenizer. Raises JobError."""
    try:
        return AutoTokenizer.from_pretrained(name, **source(name, revision))
    except UNLOADABLE as error:
        raise JobError(f"{name}: {_line(error)}") from None


def generation_settings(name: str, revision: str | None) -> GenerationConfig | None:
    """What the model says of its generation; None: many say nothing, and the tokenizer's end token is all."""
    try:
        return GenerationConfig.from_pretrained(name, **source(name, revision))
    except (OSError, ValueError):
        return None


def _load(name: str, revision: str | None, where: torch.device, dtype: torch.dtype) -> LoadedBase:
    common = source(name, revision)
    _check_type(name, revision)
    tokenizer = AutoTokenizer.from_pretrained(name, **common)
    model, loading = AutoModelForCausalLM.from_pretrained(
        name, dtype=dtype, use_safetensors=True, output_loading_info=True, **common
    )
    _complete(name, loading)
    model.requires_grad_(requires_grad=False)
    named = naming.derive(name, model, AutoConfig.from_pretrained(name, **common))
    _pad(name, tokenizer, model.get_input_embeddings().weight.shape[0])
    os.environ["HF_HUB_OFFLINE"] = "1"  # all is here: no checkpoint may wait for, or fail with, the network
    # Quantised weights are on their device already, and some refuse to be moved.
    placed = model if getattr(model, "is_quantized", False) else model.to(where)
    return LoadedBase(placed.eval(), tokenizer, where, name, revision, named)


def checked(name: str) -> str:
    """A directory's real path, or the hub's id as it is. Raises JobError for a directory without a base
    model.
    """
    if not Path(name).is_dir():
        return name
    directory = Path(name).resolve()
    try:
        checkpoint.read(directory)
    except checkpoint.CheckpointError as error:
        raise JobError(str(error)) from None
    return str(directory)


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

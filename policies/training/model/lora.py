"""One frozen base model with LoRA adapters on it: making, switching, saving, reading back.

There is never a second copy of the base: the reference of a loss or of a comparison is the same weights with
the adapter off, or with another adapter on.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, PeftModelForCausalLM, get_peft_model, get_peft_model_state_dict
from peft.utils import NoMatchingPeftModuleError
from safetensors.torch import save_file

from policies.recipes import Lora
from policies.training.errors import JobError
from policies.training.jobs import AdapterFile
from policies.training.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from policies.training.model import targets
from policies.training.model.loading import UNLOADABLE, LoadedBase, load
from policies.training.model.naming import SAME, Naming, listed

__all__ = ["POLICY", "LoadedBase", "load"]

POLICY, REFERENCE = "default", "ref"
"""Names on the model: of the adapter that is trained or asked, and, as TRL has it, of the frozen copy of the
adapter that is continued."""
PREFIX = "base_model.model."
"""What PEFT puts before the names of a model's own modules."""
SHAPE = {
    "r": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "task_type": "task_type",
    "bias": "bias",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "rank_pattern": "rank_pattern",
    "alpha_pattern": "alpha_pattern",
    "layers_to_transform": "layers_to_transform",
    "modules_to_save": "modules_to_save",
}
"""What a continued adapter has in common with the recipe's, by PEFT's name and by ours."""


def fresh(base: LoadedBase, shape: Lora) -> Any:
    """The base with a new, trainable adapter. It starts as the base: its B matrices are zero.

    Raises JobError where the recipe's target modules are not to be had.
    """
    config = targets.configured(base.model, shape)
    try:
        return get_peft_model(base.model, config)
    except ValueError as error:
        raise JobError(f"recipe.lora cannot be had on {base.name}: {' '.join(str(error).split())}") from error


def continued(base: LoadedBase, parent: Path, shape: Lora) -> Any:
    """The base with the parent's adapter, trainable. Raises JobError where its shape is not the recipe's, on
    this very base model: `all-linear` is what it means there.
    """
    recipe = fresh(base, shape)
    wanted, names = recipe.peft_config[POLICY], _adapted(recipe)
    recipe.unload()
    model = _loaded(base.model, parent, POLICY, base.naming, base.device, trainable=True)
    ours, theirs = _differences(wanted, model.peft_config[POLICY], names, _adapted(model))
    if len(ours) > 2 or ours != theirs:
        raise JobError(
            f"the parent adapter {parent.name} has {', '.join(theirs)} and the recipe {', '.join(ours)}: "
            "give the recipe the parent's shape, or go back to the base model (`rlaifd rollback --to base`) "
            "and train anew"
        )
    return model


def _adapted(model: Any) -> set[str]:
    """The modules, by their names on the base, that the adapter has weights for."""
    return {_module(key) for key in state(model)}


def _module(key: str) -> str:
    return re.sub(r"\.lora_.*$", "", key.removeprefix(PREFIX))


def _differences(
    wanted: LoraConfig, found: LoraConfig, ours: set[str], theirs: set[str]
) -> tuple[list[str], list[str]]:
    """What the recipe says and what the parent has: rank and scale always, the rest where they differ."""
    said: tuple[list[str], list[str]] = ([], [])
    for key, name in SHAPE.items():
        mine, other = getattr(wanted, key) or None, getattr(found, key) or None
        if mine != other or key in {"r", "lora_alpha"}:
            said[0].append(f"{name}={getattr(wanted, key)}")
            said[1].append(f"{name}={getattr(found, key)}")
    if ours != theirs:
        said[0].append(f"target_modules with {listed(_leaves(ours - theirs)) or 'no more'}")
        said[1].append(f"target_modules with {listed(_leaves(theirs - ours)) or 'no more'}")
    return said


def _leaves(names: set[str]) -> set[str]:
    return {name.rsplit(".", 1)[-1] for name in names}


def with_adapters(base: LoadedBase, adapters: dict[str, Path]) -> Any:
    """The base with adapters loaded by name, for inference; the base itself where there are none.

    Raises JobError for an adapter that does not apply to this base model wholly.
    """
    model = base.model
    for name, directory in adapters.items():
        model = _loaded(model, directory, name, base.naming, base.device)
    return model.eval()


def add(model: Any, base: LoadedBase, name: str, directory: Path) -> None:
    """Puts one more adapter from its files beside those on the model, frozen.

    Raises JobError where it does not apply to this base model wholly.
    """
    _loaded(model, directory, name, base.naming, base.device)
    model.eval()


def require_own(base: LoadedBase, directory: Path) -> None:
    """Loads the adapter as a server would: by plain PEFT onto the checkpoint's own class, which stands there
    without weights. Raises JobError where it does not apply wholly.
    """
    if not base.naming.same:
        _loaded(base.naming.skeleton(), directory, POLICY, SAME, torch.device("cpu"), spare=True)


def _loaded(
    model: Any,
    directory: Path,
    name: str,
    naming: Naming,
    device: torch.device,
    *,
    trainable: bool = False,
    spare: bool = False,
) -> Any:
    """The model with one more adapter. What PEFT only warns of, or does not even tell, is an error here: a
    name that matches nothing leaves the base model as it is. `spare`: the weights take the place of what is
    not there.
    """
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    where = f"adapter {directory.name} does not fit {type(bare).__name__}"
    try:
        model = _made(model, directory, name, naming, trainable=trainable, spare=spare)
        found = model.load_adapter(
            str(directory),
            name,
            is_trainable=trainable,
            torch_device=str(device),
            key_mapping=_key_mapping(naming),
            low_cpu_mem_usage=spare,
        )
    except torch.OutOfMemoryError:
        raise
    except NoMatchingPeftModuleError as error:
        raise JobError(f"{where}: none of its target modules is there") from error
    except UNLOADABLE as error:
        raise JobError(f"{where}: {' '.join(str(error).split())[:300]}") from error
    for kind, keys in (("lacks", found.missing_keys), ("has unknown", found.unexpected_keys)):
        if keys:
            raise JobError(f"{where}: it {kind} weights for {listed(keys, 2)}")
    return model


def _made(model: Any, directory: Path, name: str, naming: Naming, *, trainable: bool, spare: bool) -> Any:
    """The model with an empty adapter of the configuration that is in the directory."""
    config = LoraConfig.from_pretrained(str(directory))
    config.target_modules = _inward(config.target_modules, naming)
    config.inference_mode = not trainable
    if isinstance(model, PeftModel):
        model.add_adapter(name, config)
        return model
    return PeftModelForCausalLM(model, config, adapter_name=name, low_cpu_mem_usage=spare)


def _inward(named: Any, naming: Naming) -> Any:
    return {naming.inward(name) for name in named} if isinstance(named, (set, list)) else named


def _key_mapping(naming: Naming) -> dict[str, str]:
    """In the form that PEFT takes: a pattern for names without its own prefix, and what replaces it."""
    if naming.same or not naming.own:
        return {}
    return {rf"^{re.escape(naming.own)}\.": f"{naming.loaded}." if naming.loaded else ""}


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


def state(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's weights alone, by PEFT's names on the loaded class, on the CPU."""
    # Left to itself PEFT asks the hub whether the vocabulary has grown.
    found = get_peft_model_state_dict(model, adapter_name=POLICY, save_embedding_layers=False)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def save(
    model: Any, directory: Path, base: LoadedBase, served_as: str | None = None
) -> dict[str, AdapterFile]:
    """Writes the adapter's two files and returns their digests. Raises JobError on a non-finite weight.

    Modules have the names of the checkpoint's own class. The same weights give the same bytes: keys are
    sorted, and nothing of this machine but the base model's name is written; `served_as` takes its place.
    """
    weights = {PREFIX + base.naming.outward(name.removeprefix(PREFIX)): w for name, w in state(model).items()}
    weights = dict(sorted(weights.items()))
    bad = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise JobError(f"the adapter has weights that are not finite: {bad[0]} and {len(bad) - 1} more")
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, str(directory / ADAPTER_WEIGHTS), metadata={"format": "pt"})
    config = {key: _plain(value) for key, value in model.peft_config[POLICY].to_dict().items()}
    if not base.naming.same:
        modules = model.base_model.targeted_module_names
        config["target_modules"] = sorted(base.naming.outward(name) for name in modules)
    named = served_as or base.name
    config |= {"base_model_name_or_path": named, "revision": base.revision, "inference_mode": True}
    (directory / ADAPTER_CONFIG).write_text(
        json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    return {name: describe(directory / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}


def describe(path: Path) -> AdapterFile:
    """Digest and size of a file."""
    with path.open("rb") as file:
        return AdapterFile(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else value

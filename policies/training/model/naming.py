"""What a checkpoint's own class calls the modules of the class that was loaded.

Of a multimodal checkpoint `AutoModelForCausalLM` loads the text class alone, and there `model.layers.0` is
what the checkpoint's own class calls `model.language_model.layers.0`. A server loads the checkpoint's own
class and applies an adapter by names: one with other names matches nothing, and is ignored in silence. So
adapters are written with the names of the checkpoint's own class, and read back by them.

The names are told from the classes themselves: the text model is the only module of its class in the
checkpoint's own one, which is built without weights to look at.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from policies import architectures
from policies.training.errors import JobError

UNBUILDABLE = (AttributeError, ImportError, KeyError, RuntimeError, TypeError, ValueError)
"""What a class raises over a configuration that is not its own."""


@dataclass(frozen=True, slots=True)
class Naming:
    """`own` is the path, in the checkpoint's own class, of the module that is at `loaded` in the loaded one.

    Both are '' where the loaded class is the checkpoint's own. Otherwise `kind` is that class, and `config`
    the checkpoint's whole configuration.
    """

    loaded: str = ""
    own: str = ""
    kind: Any = None
    config: Any = None

    @property
    def same(self) -> bool:
        """Whether both classes use the same names."""
        return self.loaded == self.own

    def skeleton(self) -> Any:
        """The checkpoint's own class without weights."""
        # Building it may change the configuration: it gets one of its own.
        with torch.device("meta"):
            return self.kind(copy.deepcopy(self.config))

    def outward(self, module: str) -> str:
        """The name of a loaded module in the checkpoint's own class."""
        return module if self.same else _moved(module, self.loaded, self.own)

    def inward(self, module: str) -> str:
        """The name in the loaded class of what an adapter names. Adapters that were written with the loaded
        class's own names are read as well.
        """
        return _moved(module, self.own, self.loaded) if _under(module, self.own) else module


SAME = Naming()


def derive(name: str, model: Any, config: Any) -> Naming:
    """The naming of a loaded model, whose checkpoint's whole configuration is `config`. Raises JobError."""
    own = architectures.architecture(config.to_dict())
    if own is None or own == type(model).__name__:
        return SAME
    kind = getattr(transformers, own, None)
    multimodal = config.get_text_config() is not config
    if kind is None and not multimodal:  # an older name of the same class
        return SAME
    refused = f"{name}: its own class {own} is not {type(model).__name__}, which was loaded"
    if kind is None:
        raise JobError(f"{refused}, and transformers does not know it: no server could be told the names")
    try:
        whole = Naming(kind=kind, config=config).skeleton()
    except UNBUILDABLE as error:
        raise JobError(
            f"{refused}, and cannot be built from this configuration: take a text model"
        ) from error
    place = _place(model, whole)
    if place is None:
        raise JobError(f"{refused}, and where one is in the other cannot be told: take a text model")
    return Naming(*place, kind, config)


def _place(model: Any, whole: Any) -> tuple[str, str] | None:
    """Where the outermost part of the model is that the other class has just once, made of the same parts."""
    modules = [
        (name, module) for name, module in model.named_modules() if isinstance(module, PreTrainedModel)
    ]
    for name, module in modules:
        alike = [(other, found) for other, found in whole.named_modules() if type(found) is type(module)]
        if len(alike) == 1 and _names(module) == _names(alike[0][1]):
            return name, alike[0][0]
    return None


def _names(module: Any) -> set[str]:
    return {name for name, _ in module.named_modules()}


def texts(model: Any) -> set[str]:
    """The names of the modules that make the text: not those of a tower for images or sound, which would get
    an adapter that text never trains.
    """
    decoder = model.get_decoder()
    outside = [
        name
        for name, module in decoder.named_modules()
        if isinstance(module, PreTrainedModel) and type(module.config) is not type(decoder.config)
    ]
    path = _path_of(decoder, model)
    inside = (name for name, _ in decoder.named_modules() if not any(_under(name, each) for each in outside))
    return {_joined(path, name) for name in inside}


def _path_of(module: Any, model: Any) -> str:
    return next(name for name, found in model.named_modules() if found is module)


def _under(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(f"{prefix}.")


def _moved(name: str, source: str, target: str) -> str:
    if not _under(name, source):
        raise JobError(f"{name} is not part of the text model ({source}): it cannot be named for a server")
    return _joined(target, name.removeprefix(source).removeprefix("."))


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def listed(names: Iterable[str], most: int = 4) -> str:
    """Names in a message: the first of them in order, and how many more there are."""
    found = sorted(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more

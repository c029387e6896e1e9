"""The roles that share one frozen base: policy, critic, reward models, and a reference.

Each is an adapter on the same weights, as in Hydra-PPO (arXiv:2309.00754); the reference is the base with
adapters off, or a frozen copy of the adapter that a run goes on from.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from policies.training.engines.passes import Passes
from policies.training.model import lora
from policies.training.model.lora import POLICY, REFERENCE, LoadedBase

CRITIC = "critic"
ADAPTED = re.compile(r"\.lora_[a-zA-Z_]+\.(?P<role>[^.]+)(?:\.|$)")
SAMPLED_VALUES = 1024


class Roles:
    """The model with its adapters. `trained` says which of them learn; all others are frozen.

    PEFT lets only the active adapter require gradients, and takes them from the others whenever it switches,
    from then on without a word: a backward pass leaves their gradients out. Every switch here is followed by
    putting that right.
    """

    def __init__(self, model: Any, pad: int) -> None:
        self.model = model.eval()
        self.passes = Passes(self.model, pad)
        self.trained: set[str] = {POLICY}
        self._every: list[tuple[torch.nn.Parameter, str | None]] = []
        self._added()

    @property
    def reference(self) -> str | None:
        """The adapter that is the reference; None: the base."""
        return REFERENCE if REFERENCE in self.model.peft_config else None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def weights(self, role: str) -> dict[str, torch.nn.Parameter]:
        """The role's adapter weights by name, in a fixed order."""
        return {name: value for name, value in self.model.named_parameters() if _role(name) == role}

    def restore(self) -> None:
        """Lets exactly the trained roles require gradients."""
        for value, role in self._every:
            value.requires_grad_(role in self.trained)

    @contextmanager
    def acting(self, role: str | None) -> Iterator[Any]:
        """Within it the model answers as that role; None: as the base. Gives the model."""
        try:
            with lora.using(self.model, role):
                self.restore()
                yield self.model
        finally:
            self.restore()

    def add(self, role: str, *, like: str, seed: int, trained: bool) -> None:
        """A new adapter of the shape of another. It starts as the base, from the seed alone."""
        config: LoraConfig = copy.deepcopy(self.model.peft_config[like])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model.add_adapter(role, config)
        self._added(*([role] if trained else []))

    def copy(self, source: str, role: str, *, trained: bool) -> None:
        """A new adapter with the weights of another."""
        self.add(role, like=source, seed=0, trained=trained)
        theirs = {_bare(name): value for name, value in self.weights(source).items()}
        with torch.no_grad():
            for name, value in self.weights(role).items():
                value.copy_(theirs[_bare(name)])

    def load(self, role: str, directory: Path, base: LoadedBase) -> None:
        """A frozen adapter from its files. Raises JobError where it does not apply to this base wholly."""
        lora.add(self.model, base, role, directory)
        self._added()

    def only_policy(self) -> None:
        """Takes off what only training needs. What stays is the policy, trained, and its reference,
        frozen.
        """
        for role in set(self.model.peft_config) - {POLICY, REFERENCE}:
            self.model.delete_adapter(role)
        self.trained = {POLICY}
        self.model.set_adapter(POLICY)
        self._added()

    def _added(self, *trained: str) -> None:
        self.model.eval()
        self.trained |= set(trained)
        self._every = [(value, _role(name)) for name, value in self.model.named_parameters()]
        self.restore()


def _role(name: str) -> str | None:
    """The adapter that a parameter belongs to; None: the base."""
    found = ADAPTED.search(name)
    return found["role"] if found else None


def _bare(name: str) -> str:
    """A parameter's name without its adapter's."""
    found = ADAPTED.search(name)
    return name[: found.start("role")] + name[found.end("role") :] if found else name


def base_copies(*modules: torch.nn.Module) -> int:
    """How many copies of the base's weights the modules hold between them, counted by storage.

    A weight is known by its shape and a sample of its values, not by its name: a copy is one under any name.
    Only matrices count, and of those none with all values alike; adapters' do not, as one is often a copy of
    another on purpose.
    """
    storages: dict[tuple[Any, ...], set[int]] = {}
    for module in modules:
        for name, value in module.named_parameters():
            flat = value.detach().reshape(-1)
            sample = flat[:: max(1, flat.numel() // SAMPLED_VALUES)].float().cpu()
            if value.dim() < 2 or ADAPTED.search(name) or bool((sample == sample[0]).all()):
                continue
            key = (tuple(value.shape), sample.numpy().tobytes())
            storages.setdefault(key, set()).add(value.untyped_storage().data_ptr())
    return max(map(len, storages.values()), default=0)

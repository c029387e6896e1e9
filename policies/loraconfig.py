"""What an adapter's `adapter_config.json` may say: what our trainings write, and nothing else.

PEFT has a key for every paper, and some name files, modules or code that a server would load. Allowed are the
keys below with the values below; any other key, of this version of PEFT or the next, must say nothing.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

MOST_RANK = 1024
MOST_ALPHA = 65_536
MOST_NAMES = 100_000
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,300}")
_PATTERN = re.compile(r"(\.\*|\^)?(\\\.|[A-Za-z0-9_.-]){1,300}\$?")
"""PEFT reads these as regular expressions: no group and no repetition but one at the start."""


class LoraConfigError(ValueError):
    """The configuration says something that no training of ours writes. One line."""


def parse(content: bytes) -> dict[str, Any]:
    """The configuration as an object of a LoRA adapter. Raises LoraConfigError."""
    try:
        config = json.loads(content.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise LoraConfigError("not JSON, or a key is written twice") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise LoraConfigError("not a LoRA configuration")
    return config


def check(config: Mapping[str, Any], *, revision: str | None, targets: object) -> None:
    """Raises LoraConfigError for the first key whose value is not allowed.

    `revision` is the base model's commit, `targets` what the recipe names as modules: a pattern is what a
    person wrote there, or is refused.
    """
    for key, value in config.items():
        if key == "revision":
            fine = value in (None, revision)
        elif key == "target_modules":
            fine = _names(value) or (isinstance(value, str) and value in ("all-linear", targets))
        else:
            fine = ALLOWED.get(key, _nothing)(value)
        if not fine:
            raise LoraConfigError(f"{key[:80]}: no training of ours writes this value")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is written twice")
    return found


def _nothing(value: object) -> bool:
    return value is None or value is False or (isinstance(value, dict | list | str) and not value)


def _truth(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _rank(value: object) -> bool:
    return type(value) is int and 1 <= value <= MOST_RANK


def _alpha(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= MOST_ALPHA  # type: ignore[operator]


def _dropout(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value < 1  # type: ignore[arg-type,operator]


def _names(value: object) -> bool:
    if value is None:
        return True
    few = isinstance(value, list) and len(value) <= MOST_NAMES
    return few and all(isinstance(each, str) and _NAME.fullmatch(each) for each in value)  # type: ignore[attr-defined]


def _by_name(allowed: Callable[[object], bool]) -> Callable[[object], bool]:
    def fine(value: object) -> bool:
        if not isinstance(value, dict) or len(value) > MOST_NAMES:
            return value is None
        return all(_PATTERN.fullmatch(key) and allowed(each) for key, each in value.items())

    return fine


def _one_of(*values: object) -> Callable[[object], bool]:
    return lambda value: any(type(value) is type(each) and value == each for each in values)


ALLOWED: Mapping[str, Callable[[object], bool]] = {
    "peft_type": _one_of("LORA"),
    "peft_version": lambda value: isinstance(value, str) and bool(_NAME.fullmatch(value)),
    "task_type": _one_of(None, "CAUSAL_LM"),
    "base_model_name_or_path": lambda value: isinstance(value, str),
    "r": _rank,
    "lora_alpha": _alpha,
    "lora_dropout": _dropout,
    "target_parameters": _names,
    "rank_pattern": _by_name(_rank),
    "alpha_pattern": _by_name(_alpha),
    "bias": _one_of("none"),
    "fan_in_fan_out": _truth,
    "inference_mode": _truth,
    "init_lora_weights": _truth,
    "use_rslora": _truth,
    "ensure_weight_tying": _truth,
    "megatron_core": _one_of(None, "megatron.core"),
    "qalora_group_size": _rank,
}
"""PEFT writes its defaults out: those that are not empty are here."""

"""The configuration that the daemon learns with: its own defaults, but for what is listed here.

Recipe, guards, halts and gate are not mentioned, so they are the defaults, whatever these are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from policies.policy import GateRule
from policies.records import Role

POLICY: Final = "shop-agent"
POLICY_FAMILY: Final = "smollm"
FAMILIES: Final[Mapping[Role, str]] = {
    Role.SMALL: "simulated-north",
    Role.LARGE: "simulated-north",
    Role.GATE: "simulated-south",
}
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. The shares are of the logged prompts."""

    logs: int = 270
    held_out: int = 200
    """Prompts that are never logged, on which base and adapter are compared in the end."""
    max_new_tokens: int = 48
    train: float = 0.46
    audit: float = 0.20
    """The reviewer decides two in three of its pairs, and the small judge three in five of these."""
    gate: float = 0.34
    serving_temperature: float = 0.7
    """At which the agent answers its customers. All else samples at 1."""

    def said(self) -> list[str]:
        """The lines that say what is not a default."""
        labels = GateRule().min_labels
        return [
            f"{self.logs} logged prompts; {self.held_out} held-out prompts, which are never logged",
            f"answers of at most {self.max_new_tokens} tokens",
            f"splits: {self.train:.0%} train, {self.audit:.0%} audit, {self.gate:.0%} gate",
            f"labels: as many as the audit prompts give; the gate needs {labels}",
            f"the agent serves at temperature {self.serving_temperature:g}; what is compared is sampled at 1",
            "recipe, guards, halts and gate thresholds: the defaults",
        ]


def document(*, base: Path, judges: Mapping[Role, str], seed: int, sizes: Sizes) -> Document:
    """What goes into rlaifd.yaml. `judges` are the addresses of the simulated ones."""
    splits = {"train": sizes.train, "calibrate": 0.0, "audit": sizes.audit, "gate": sizes.gate}
    return {
        "state_dir": "state",
        "seed": seed,
        "sources": [{"type": "jsonl", "name": "agent", "path": "logs"}],
        "judges": {role.value: _judge(role, url) for role, url in judges.items()},
        "policy": {
            "name": POLICY,
            "family": POLICY_FAMILY,
            "base_model": str(base),
            "splits": splits,
            "sampling": {"type": "child", "max_new_tokens": sizes.max_new_tokens},
        },
    }


def write(path: Path, content: Document) -> None:
    """Writes rlaifd.yaml. It ends with YAML's document-end marker."""
    path.write_text(yaml.safe_dump(content, sort_keys=False, explicit_end=True), encoding="utf-8")


def _judge(role: Role, url: str) -> Document:
    return {
        "role": role.value,
        "type": "openai",
        "model": f"simulated-{role.value}",
        "family": FAMILIES[role],
        "base_url": url,
        "price": {"input_per_million": 0.0, "output_per_million": 0.0},
        "logprobs": True,
    }

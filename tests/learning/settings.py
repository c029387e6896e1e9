"""The configuration that the daemon learns with: its own defaults, but for what is listed here.

Recipe, guards, halts and gate are not mentioned, so they are the defaults, whatever these are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from policies.policy import GateRule, JudgingRule
from policies.records import Role

POLICY: Final = "shop-agent"
POLICY_FAMILY: Final = "smollm"
FAMILIES: Final[Mapping[Role, str]] = {
    Role.SMALL: "simulated-north",
    Role.LARGE: "simulated-north",
    Role.GATE: "simulated-south",
}
Document = dict[str, Any]
Method = Literal["dpo", "ppo", "sft"]
RECIPES: Final[Mapping[Method, Any]] = {
    "dpo": None,
    "ppo": [{"method": "reward"}, {"method": "ppo"}],
    "sft": {"method": "sft"},
}
"""What the configuration says of the recipe: the method, and nothing of the daemon's default."""


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
    review_pairs: int = JudgingRule().review_pairs
    threads: int = 1
    """Of a training."""

    def said(self) -> list[str]:
        """The lines that say what is not a default."""
        labels = GateRule().min_labels
        return [
            f"{self.logs} logged prompts; {self.held_out} held-out prompts, which are never logged",
            f"answers of at most {self.max_new_tokens} tokens",
            f"splits: {self.train:.0%} train, {self.audit:.0%} audit, {self.gate:.0%} gate",
            f"labels: as many as the audit prompts give; the gate needs {labels}",
            f"up to {self.review_pairs} pairs of an audit prompt are labelled",
            f"a training has {self.threads} thread{'s' if self.threads > 1 else ''}",
            f"the agent serves at temperature {self.serving_temperature:g}; what is compared is sampled at 1",
            "recipe, guards, halts and gate thresholds: the defaults",
        ]


SIZES: Final[Mapping[Method, Sizes]] = {
    "dpo": Sizes(),
    "sft": Sizes(logs=330, train=0.50, audit=0.19, gate=0.31),
    "ppo": Sizes(logs=420, train=0.44, audit=0.32, gate=0.24, review_pairs=6, threads=2),
}
"""SFT has a target only of every other prompt, and needs as many as DPO needs pairs. A reward model is held
against its judge on labels, of which it takes some two hundred on which both are decided; and PPO, whose
steps take ten times as long, has both cores to itself."""


def document(
    *, base: Path, judges: Mapping[Role, str], seed: int, sizes: Sizes, method: Method = "dpo"
) -> Document:
    """What goes into rlaifd.yaml. `judges` are the addresses of the simulated ones."""
    recipe = RECIPES[method]
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
            "judging": {"review_pairs": sizes.review_pairs},
            **({} if recipe is None else {"recipe": recipe}),
            "sampling": {"type": "child", "max_new_tokens": sizes.max_new_tokens},
        },
        "training": {"threads": sizes.threads},
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

"""The demo's configuration files: an ordinary rlaifd.yaml, sized for a shop of a thousand customers.

Only sizes differ from production: a tiny model, small classes, short waits. No rule is switched off, except
that the unanchored adapter is trained with the training guards in dry_run, so that the gate must catch it.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from policies.clusters import cluster_of, split_of
from policies.policy import Splits
from policies.records import Message, Split

POLICY_FAMILY: Final = "tiny-llama"
TRAINING_FAMILY: Final = "simulated-north"
GATE_FAMILY: Final = "simulated-south"
REAL_FAMILY: Final = "openai"
KL_CEILING: Final = 10.0
MIN_PREFERENCES: Final = 300
GATE_PROMPTS: Final = 90
SILENT: Final = 0.05
"""Most of the customers who get no answer at all."""
DAILY_BUDGET_USD: Final = 5.0

Document = dict[str, Any]
Method = Literal["dpo", "ppo"]
"""By which the demo's agent learns."""

_LORA: Final = {"r": 8, "alpha": 16}
_STEPS: Final = {
    "lora": _LORA,
    "epochs": 4,
    "batch_size": 16,
    "max_length": 256,
    "checkpoint_steps": 50,
    "warmup_ratio": 0.1,
}
RECIPES: Final[Mapping[str, Document]] = {
    "dpo": {"method": "dpo", **_STEPS, "beta": 0.3, "sft_weight": 2.0, "learning_rate": 1e-3},
    "sft": {"method": "sft", **_STEPS, "learning_rate": 2e-3},
    "kto": {"method": "kto", **_STEPS, "learning_rate": 2e-3},
    "reward": {"method": "reward", **_STEPS, "epochs": 3, "learning_rate": 3e-3},
    "ppo": {
        "method": "ppo",
        "lora": _LORA,
        "steps": 16,
        "prompts": 16,
        "answers": 4,
        "max_new_tokens": 64,
        "sampling_batch": 64,
        "minibatch": 32,
        "microbatch": 32,
        "learning_rate": 2e-3,
        "warmup_steps": 3,
        "critic_warmup_steps": 1,
        "max_length": 256,
    },
}
"""For a model of half a million weights, by method."""
SPLITS: Final[Mapping[Method, Splits]] = {
    "dpo": Splits(),
    "ppo": Splits(train=0.65, calibrate=0.05, audit=0.10, gate=0.20),
}
"""A reward model is held against its judge on audit labels, and takes twice as many as the gate does."""


def sampled_prompts(prompts: list[str], splits: Splits | None = None) -> int:
    """For how many of these prompts the daemon begins to sample candidates: nearly all but the gate's.

    An agent from nothing sometimes says nothing, and silence is no event.
    """
    splits = splits or Splits()
    found = {cluster_of((Message(role="user", content=prompt),)) for prompt in prompts}
    sampled = sum(split_of(cluster, splits) is not Split.GATE for cluster in found)
    return int(sampled * (1 - SILENT))


def base(
    *, seed: int, judges_port: int, web_port: int, sample_least: int, kafka: tuple[str, str] | None,
    real_judge: str | None, method: Method = "dpo",
) -> Document:  # fmt: skip
    """The configuration that the daemon runs with. `kafka` is (bootstrap server, topic). PPO's recipe comes
    after that of its reward model: the daemon follows each as soon as it can be followed.
    """
    return {
        "state_dir": "state",
        "seed": seed,
        "sources": [_source(kafka)],
        "judges": _judges(judges_port, real_judge),
        "policy": _policy(method),
        "training": {
            "interval_s": 1.0,
            "min_new_preferences": MIN_PREFERENCES,
            "min_preferences": 100,
            "device": "cpu",
            "threads": 1,
        },
        "rollout": {"file": "rollout.yaml", "poll_s": 0.5},
        "targets": [{"type": "directory", "path": "serving"}],
        "web": {"host": "127.0.0.1", "port": web_port},
        "stages": {
            "poll_s": 0.5,
            "claim_batch": 64,
            "sample_least": sample_least,
            "sample_most": 4096,
            "sample_patience_s": 3600.0,
        },
        "log": {"level": "info", "format": "json"},
    }


def unanchored(document: Document) -> Document:
    """The same with plain DPO and the training guards only watching: what the gate must refuse by its KL."""
    bad = copy.deepcopy(document)
    policy = bad["policy"]
    policy["name"] = "shop-unanchored"
    policy["recipe"] = recipe("dpo", sft_weight=0.0, beta=0.1, learning_rate=4e-3, epochs=2.5)
    policy["guards"] = {
        name: {"limit": limit, "mode": "dry_run"}
        for name, limit in (
            ("kl_nats", 20.0),
            ("entropy_low_ratio", 0.3),
            ("entropy_high_ratio", 3.0),
            ("chosen_logp_drop_nats", 15.0),
        )
    } | {"every_steps": 1000, "samples": 16}
    bad["training"]["lock"] = "unanchored.lock"
    return bad


def flipped(document: Document) -> Document:
    """The same for the snapshot whose labels are flipped: the recipe is sound, the data is not."""
    bad = copy.deepcopy(document)
    bad["policy"]["name"] = "shop-flipped"
    bad["policy"]["recipe"] = recipe("dpo", learning_rate=2e-3, epochs=3)
    bad["training"]["lock"] = "flipped.lock"
    return bad


def write(path: Path, document: Document) -> None:
    """Writes a configuration. It ends with YAML's document-end marker."""
    path.write_text(yaml.safe_dump(document, sort_keys=False, explicit_end=True), encoding="utf-8")


def _source(kafka: tuple[str, str] | None) -> Document:
    if kafka is None:
        return {"type": "jsonl", "name": "agent", "path": "logs", "poll_s": 0.2}
    server, topic = kafka
    return {
        "type": "kafka",
        "name": "agent",
        "bootstrap_servers": server,
        "topics": [topic],
        "group_id": f"{topic}-rlaifd",
    }


def _judges(port: int, real: str | None) -> Document:
    address = f"http://127.0.0.1:{port}/v1"
    free = {"input_per_million": 0.0, "output_per_million": 0.0}

    def simulated(role: str, family: str) -> Document:
        return {
            "role": role,
            "type": "openai",
            "model": f"simulated-{role}",
            "family": family,
            "base_url": address,
            "price": free,
            "concurrency": 32,
            "deadline_s": 30.0,
            "logprobs": True,
        }

    def genuine(role: str) -> Document:
        return {
            "role": role,
            "type": "openai",
            "model": real,
            "family": REAL_FAMILY,
            "daily_budget_usd": DAILY_BUDGET_USD,
            "concurrency": 32,
            "temperature": None,  # models that reason refuse one,
            "max_tokens": 4096,  # and what they reason counts
        }

    return {
        "small": genuine("small") if real else simulated("small", TRAINING_FAMILY),
        "large": genuine("large") if real else simulated("large", TRAINING_FAMILY),
        "gate": simulated("gate", GATE_FAMILY),
    }


def recipe(method: str, **changes: Any) -> Document:
    """The method's recipe, one's own to change."""
    return copy.deepcopy(RECIPES[method]) | changes


def _policy(method: Method) -> Document:
    return {
        "name": "shop-agent",
        "family": POLICY_FAMILY,
        "base_model": "base",
        "splits": SPLITS[method].model_dump(),
        "judging": {"small_rate": 1.0, "audit_rate": 0.05, "review_pairs": 8},
        "sampling": {"type": "child", "candidates": 4, "temperature": 1.0, "max_new_tokens": 64},
        "curation": {"min_margin": 4.5},
        "recipe": [recipe("reward"), recipe("ppo")] if method == "ppo" else recipe(method),
        "guards": {"every_steps": 40, "samples": 16},
        "gate": {
            "min_prompts": 40,
            "max_prompts": GATE_PROMPTS,
            "max_kl_nats": KL_CEILING,
            "min_entropy_ratio": 0.35,
        },
    }

"""Adapter files as a training leaves them, and the manifest under which they are published."""

import hashlib
import json
import random
import struct
from pathlib import Path

from daemon.adapters.adapters import Manifest
from policies.training.jobs import AdapterFile
from policies.training.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS

BASE = "models/base"


def weights(values: int = 64, *, seed: int = 0) -> bytes:
    """A safetensors file with one float tensor."""
    data = random.Random(seed).randbytes(4 * values)
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "lora_A.weight": {"dtype": "F32", "shape": [values], "data_offsets": [0, len(data)]},
        }
    ).encode()
    return struct.pack("<Q", len(header)) + header + data


def source(directory: Path, *, seed: int = 0, config: dict[str, object] | None = None) -> Path:
    """What a training leaves behind."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ADAPTER_WEIGHTS).write_bytes(weights(seed=seed))
    settings = {"peft_type": "LORA", "base_model_name_or_path": BASE, "r": 8, "auto_mapping": None}
    (directory / ADAPTER_CONFIG).write_text(json.dumps(settings | (config or {})), encoding="utf-8")
    return directory


def described(path: Path) -> AdapterFile:
    """A file's entry in a manifest."""
    body = path.read_bytes()
    return AdapterFile(sha256=hashlib.sha256(body).hexdigest(), size=len(body))


def manifest(directory: Path, *, run: str = "r1") -> Manifest:
    """What says where the files came from, and their digests."""
    return Manifest(
        policy="support",
        base_model=BASE,
        revision=None,
        parent=None,
        snapshot="s" * 64,
        run=run,
        recipe={"beta": 0.1},
        code_version="0",
        files={name: described(directory / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)},
    )
